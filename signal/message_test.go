package signal

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestAppendMessage: a client reads messages of every form of length that were written at once.
func TestAppendMessage(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 125, 126, 127, 1<<16 - 1, 1 << 16, 1<<16 + 1, 200_000}
	message := func(n int) []byte { return bytes.Repeat([]byte{byte(n%251 + 1)}, n) }
	for _, n := range sizes {
		stream = appendMessage(stream, message(n))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := ws.NetConn().Write(stream); err != nil {
			t.Error(err)
		}
		_ = ws.Close()
	}))
	defer server.Close()
	ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	defer func() { _ = ws.Close() }()
	for _, n := range sizes {
		kind, b, err := ws.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage || !bytes.Equal(b, message(n)) {
			t.Fatalf("a message of %d bytes was read as %d bytes of kind %d: %v", n, len(b), kind, err)
		}
	}
}
