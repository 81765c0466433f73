// Package web embeds the browser app and serves it. The app is built by Node into dist; without that
// build the package still compiles and serves a page that says so.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
)

//go:embed all:dist placeholder
var embedded embed.FS

// contentPolicy lets the page load nothing but its own files and talk to nobody but its own server.
const contentPolicy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

const (
	indexPage = "index.html"
	httpsPage = "https.html"
)

// Handler serves the app: its files, and index.html for every other path that is a page of it. Paths
// below /api are not its own. Browsers that came over plain HTTP to another host than localhost, where
// the app cannot work, get a page that says what to do.
func Handler() http.Handler { return newHandler(folder("dist"), folder("placeholder")) }

// Hash is the hex SHA-256 of the app that this program serves, "" without one. The same comes from
//
//	cd web/dist && find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum
func Hash() string { return hashOf(folder("dist")) }

func folder(name string) fs.FS {
	sub, err := fs.Sub(embedded, name)
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // the name is valid
	}
	return sub
}

func hashOf(build fs.FS) string {
	files := load(build)
	if files[indexPage] == nil {
		return ""
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	sum := sha256.New()
	for _, name := range names {
		_, _ = fmt.Fprintf(sum, "%x  %s\n", sha256.Sum256(files[name].plain), name) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// file is one file of the app, ready to be sent.
type file struct {
	plain, gzipped []byte // gzipped is nil when it would not be smaller
	contentType    string
	tag            string // entity tag (RFC 9110 §8.8.3)
}

// load reads all files but hidden ones, which keep folders in the repository.
func load(from fs.FS) map[string]*file {
	files := make(map[string]*file)
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		files[name] = &file{plain: b, contentType: contentType(name), tag: `"` + hex.EncodeToString(sum[:16]) + `"`}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // the files are in memory
	}
	return files
}

// contentType does not ask the system, which may say anything.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".woff2":
		return "font/woff2"
	case ".wasm":
		return "application/wasm"
	case ".json":
		return "application/json"
	case ".webmanifest":
		return "application/manifest+json"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

type handler struct {
	files map[string]*file // of the build, or only the page that says there is none
	https *file
}

func newHandler(build, placeholder fs.FS) http.Handler {
	pages := load(placeholder)
	h := &handler{files: load(build), https: pages[httpsPage]}
	if h.files[indexPage] == nil {
		h.files = map[string]*file{indexPage: pages[indexPage]}
	}
	for _, f := range h.files {
		f.compress()
	}
	return h
}

// compress makes the gzipped form once, when the program starts.
func (f *file) compress() {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return // the level is valid
	}
	_, _ = w.Write(f.plain) // memory takes everything
	if w.Close() == nil && b.Len() < len(f.plain)*9/10 {
		f.gzipped = b.Bytes()
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if needsHTTPS(r) {
		header.Set("Cache-Control", "no-store")
		send(w, r, h.https, http.StatusForbidden)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	f := h.files[name]
	switch {
	case f != nil && strings.HasPrefix(name, "assets/"): // the build puts a hash into these names
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	case f != nil:
		header.Set("Cache-Control", "no-cache")
	case name == "api" || strings.HasPrefix(name, "api/") || strings.Contains(name, "."):
		http.NotFound(w, r)
		return
	default:
		f = h.files[indexPage]
		header.Set("Cache-Control", "no-cache")
	}
	send(w, r, f, http.StatusOK)
}

func send(w http.ResponseWriter, r *http.Request, f *file, status int) {
	header, body := w.Header(), f.plain
	header.Set("Content-Type", f.contentType)
	header.Set("Vary", "Accept-Encoding")
	tag := f.tag
	if f.gzipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		body, tag = f.gzipped, strings.TrimSuffix(tag, `"`)+`-gz"`
	}
	header.Set("ETag", tag)
	if status == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a reader that is gone needs no answer
	}
}

// needsHTTPS says whether the browser has this page from plain HTTP and another host than its own.
// A proxy in front may have taken the encryption off: then it says so, or the browser does by the
// Sec-Fetch headers, which it sends to trustworthy origins only (W3C Fetch Metadata §2).
func needsHTTPS(r *http.Request) bool {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") || r.Header.Get("Sec-Fetch-Mode") != "" {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return !addr.Unmap().IsLoopback()
	}
	return host != "localhost" && !strings.HasSuffix(host, ".localhost")
}
