package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func build() fstest.MapFS {
	return fstest.MapFS{
		"index.html":         {Data: []byte("<!doctype html>the app")},
		"assets/app-1a2b.js": {Data: []byte(strings.Repeat("let a = 1;\n", 100))},
		".gitkeep":           {},
	}
}

func get(t *testing.T, build fs.FS, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:8080"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	newHandler(build, folder("placeholder")).ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	const app, immutable = "the app", "public, max-age=31536000, immutable"
	for _, c := range []struct {
		path, body, cache string
		status            int
	}{
		{"/", app, "no-cache", 200},
		{"/index.html", app, "no-cache", 200},
		{"/c/0190", app, "no-cache", 200},
		{"/i/abc", app, "no-cache", 200},
		{"/assets/app-1a2b.js", "let a = 1;", immutable, 200},
		{"/assets/app-3c4d.js", "not found", "", 404},
		{"/api/v1/nothing", "not found", "", 404},
		{"/api", "not found", "", 404},
		{"/x/../api/v1", "not found", "", 404},
		{"/.gitkeep", "not found", "", 404},
		{"/../embed.go", "not found", "", 404},
	} {
		w := get(t, build(), c.path, nil)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) || w.Header().Get("Cache-Control") != c.cache {
			t.Errorf("%s: %d %q %q", c.path, w.Code, w.Header().Get("Cache-Control"), w.Body)
		}
	}
}

func TestHeaders(t *testing.T) {
	w := get(t, build(), "/", nil)
	for name, want := range map[string]string{
		"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Content-Type": "text/html; charset=utf-8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	again := get(t, build(), "/", func(r *http.Request) { r.Header.Set("If-None-Match", w.Header().Get("ETag")) })
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("the same page again: %d, %d bytes", again.Code, again.Body.Len())
	}
	zipped := get(t, build(), "/assets/app-1a2b.js", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip, br") })
	if zipped.Header().Get("Content-Encoding") != "gzip" || zipped.Body.Len() > 200 {
		t.Errorf("encoding %q, %d bytes", zipped.Header().Get("Content-Encoding"), zipped.Body.Len())
	}
	if w := get(t, build(), "/", func(r *http.Request) { r.Method = http.MethodPost }); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	if w := get(t, build(), "/", func(r *http.Request) { r.Method = http.MethodHead }); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
}

func TestPlainHTTP(t *testing.T) {
	for host, refused := range map[string]bool{
		"localhost": false, "localhost:8080": false, "app.localhost:1": false, "127.0.0.1:8080": false, "127.1.2.3": false,
		"[::1]:8080": false, "[::1]": false, "[::ffff:127.0.0.1]:80": false,
		"192.168.1.4:8080": true, "parley.example": true, "localhost.example": true, "[fe80::1]:80": true, "": true,
	} {
		w := get(t, build(), "/", func(r *http.Request) { r.Host = host })
		if (w.Code == http.StatusForbidden) != refused || strings.Contains(w.Body.String(), "HTTPS") != refused {
			t.Errorf("%s: %d", host, w.Code)
		}
		for name, value := range map[string]string{"X-Forwarded-Proto": "https", "Sec-Fetch-Mode": "navigate"} {
			w := get(t, build(), "/", func(r *http.Request) { r.Host = host; r.Header.Set(name, value) })
			if w.Code != http.StatusOK {
				t.Errorf("%s behind TLS (%s): %d", host, name, w.Code)
			}
		}
	}
}

func TestWithoutBuild(t *testing.T) {
	none := fstest.MapFS{".gitkeep": {}}
	if w := get(t, none, "/", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "make run") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if hash := hashOf(none); hash != "" {
		t.Errorf("hash %q", hash)
	}
	if w := get(t, folder("dist"), "/", nil); w.Code != http.StatusOK {
		t.Errorf("what is embedded: %d", w.Code)
	}
}

func TestHash(t *testing.T) {
	// "assets/…" sorts before "index.html", and each line is one of sha256sum.
	js, index := sha256.Sum256(build()["assets/app-1a2b.js"].Data), sha256.Sum256(build()["index.html"].Data)
	sum := sha256.Sum256(fmt.Appendf(nil, "%x  assets/app-1a2b.js\n%x  index.html\n", js, index))
	if got := hashOf(build()); got != hex.EncodeToString(sum[:]) {
		t.Errorf("hash %s", got)
	}
	other := build()
	other["index.html"].Data = []byte("altered")
	if hashOf(other) == hashOf(build()) {
		t.Error("another page has the same hash")
	}
}
