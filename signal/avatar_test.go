package signal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/jpeg"
	"image/png"
	"net/http"
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func pngOf(side int) string {
	var b bytes.Buffer
	must(0, png.Encode(&b, image.NewGray(image.Rect(0, 0, side, side))))
	return b.String()
}

func jpegOf(side int) string {
	var b bytes.Buffer
	must(0, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, side, side)), nil))
	return b.String()
}

// webpOf is a lossless WebP image of one black pixel, which says that it has other sizes.
func webpOf(width, height int) string {
	bits := uint32(width-1) | uint32(height-1)<<14
	head := "\x2f" + string([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
	return "RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00" + head + "\x07\x50\xe2\xa2\x80\xff\x01\x00\x00\x00\x00\x00"
}

func (p *person) setAvatar(image string) response {
	return p.w.do(request{method: http.MethodPut, path: "/api/v1/avatar", token: p.token, raw: image})
}

func avatarPath(p *person, image string) string {
	sum := sha256.Sum256([]byte(image))
	return "/api/v1/avatars/" + p.id.String() + "/" + hex.EncodeToString(sum[:])
}

func (p *person) avatar(of *person, image string) response {
	return p.w.do(request{method: http.MethodGet, path: avatarPath(of, image), token: p.token})
}

// TestAvatar: a picture is seen by contacts and by who is asked, as what it is, until it is replaced.
func TestAvatar(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	asked, askedByB, stranger := w.register("carla"), w.register("dora"), w.register("eve")
	sa.ok(askContact(asked))
	sb.ok(askContact(askedByB))
	first, second := pngOf(256), jpegOf(256)
	if got := a.setAvatar(first); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	sum := sha256.Sum256([]byte(first))
	sb.push("the picture", func(f *pb.Frame) bool {
		return bytes.Equal(contactOf(f.GetAccountChanges(), a).GetProfile().GetAvatar(), sum[:])
	})
	sa.push("the own picture", func(f *pb.Frame) bool { return bytes.Equal(f.GetAccountChanges().GetProfile().GetAvatar(), sum[:]) })
	for _, p := range []*person{a, b, asked} {
		got := p.avatar(a, first).want(http.StatusOK, nil)
		if string(got.body) != first {
			t.Errorf("%s gets another picture", p.user)
		}
		for name, want := range map[string]string{
			"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=31536000, immutable",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Content-Disposition": "attachment; filename=avatar",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %q", name, got.header.Get(name))
			}
		}
	}
	nothing := a.avatar(a, "nothing").refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	for name, got := range map[string]response{
		"a stranger": stranger.avatar(a, first), "another's contact": askedByB.avatar(a, first), "who asked": a.avatar(asked, first),
		"nobody": a.avatar(w.newPerson("nobody"), first), "another's picture": b.avatar(b, first),
	} {
		if p := got.refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND); p.GetDetail() != nothing.GetDetail() {
			t.Errorf("%s: %s", name, got.body)
		}
	}
	w.do(request{method: http.MethodGet, path: avatarPath(a, first)}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	w.do(request{method: http.MethodGet, path: "/api/v1/avatars/x/y", token: a.token}).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)

	a.setAvatar(second).want(http.StatusNoContent, nil)
	b.avatar(a, first).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	if got := b.avatar(a, second); got.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("the second: %v", got.header)
	}
	sb.ok(removeContact(a))
	b.avatar(a, second).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	w.do(request{method: http.MethodDelete, path: "/api/v1/avatar", token: a.token}).want(http.StatusNoContent, nil)
	a.avatar(a, second).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
}

// TestAvatarRefuses: what is no picture, or would take much to decode, and too many changes.
func TestAvatarRefuses(t *testing.T) {
	w := newWorld(t)
	a := w.register("anna")
	const malformed, tooLarge = pb.ErrorCode_ERROR_CODE_MALFORMED, pb.ErrorCode_ERROR_CODE_TOO_LARGE
	for name, c := range map[string]struct {
		image  string
		status int
		code   pb.ErrorCode
	}{
		"nothing":  {"", http.StatusBadRequest, malformed},
		"html":     {"<html><script>alert(1)</script>", http.StatusBadRequest, malformed},
		"svg":      {`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, http.StatusBadRequest, malformed},
		"gif":      {"GIF89a\x01\x00\x01\x00\x00\x00\x00;", http.StatusBadRequest, malformed},
		"png head": {pngOf(8)[:20], http.StatusBadRequest, malformed}, "jpeg head": {jpegOf(8)[:20], http.StatusBadRequest, malformed},
		"webp head": {webpOf(8, 8)[:20], http.StatusBadRequest, malformed}, "webp of no kind": {strings.Replace(webpOf(8, 8), "VP8L", "VP8?", 1), http.StatusBadRequest, malformed},
		"large png":  {pngOf(1025), http.StatusRequestEntityTooLarge, tooLarge},
		"large webp": {webpOf(16000, 16), http.StatusRequestEntityTooLarge, tooLarge}, "high webp": {webpOf(16, 16000), http.StatusRequestEntityTooLarge, tooLarge},
		"many bytes": {pngOf(8) + strings.Repeat("x", 64<<10), http.StatusRequestEntityTooLarge, tooLarge},
	} {
		if got := a.setAvatar(c.image); got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	w.do(request{method: http.MethodPut, path: "/api/v1/avatar", raw: pngOf(8)}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	a.setAvatar(webpOf(256, 256)).want(http.StatusNoContent, nil)
	if got := a.avatar(a, webpOf(256, 256)); got.header.Get("Content-Type") != "image/webp" {
		t.Errorf("webp: %v", got.header)
	}
	for i := range 20 {
		a.setAvatar(pngOf(i+1)).want(http.StatusNoContent, nil)
	}
	a.setAvatar(pngOf(30)).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
}

// TestReadByCookie: a page of this server reads with the cookie alone, which no other page's request may.
func TestReadByCookie(t *testing.T) {
	w := newWorld(t)
	a := w.newPerson("anna")
	r := w.do(request{method: http.MethodPost, path: "/api/v1/register", body: a.registration(), origin: w.url})
	cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
	path := avatarPath(a, "none")
	read := func(site string, more ...string) int {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil))
		req.Header.Set("Cookie", cookie)
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		for i := 0; i < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		res := must((&http.Client{Transport: transport("")}).Do(req)) //nolint:bodyclose // closed in the next line
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := read("same-origin"); got != http.StatusNotFound { // let in, and there is no picture
		t.Errorf("an own page: %d", got)
	}
	for _, site := range []string{"", "none", "same-site", "cross-site"} {
		if got := read(site); got != http.StatusForbidden {
			t.Errorf("site %q: %d", site, got)
		}
	}
	if got := read("same-origin", "Origin", "https://evil.example"); got != http.StatusForbidden {
		t.Errorf("a foreign page: %d", got)
	}
	path = "/api/v1/socket"
	if got := read("same-origin", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "parley.v1"); got != http.StatusForbidden {
		t.Errorf("a socket: %d", got)
	}
}
