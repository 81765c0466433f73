package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ErrUnreachable wraps every failure to reach the server at all.
var ErrUnreachable = errors.New("server cannot be reached")

// ErrServerAddress says that what was given is no address of a server.
var ErrServerAddress = errors.New("server address")

const (
	restTimeout = 20 * time.Second
	restBody    = 1 << 20 // largest answer read
)

// rest speaks the REST API of docs/PROTOCOL.md §8.
type rest struct {
	base   string
	client *http.Client
	token  string
}

func newRest(server string, client *http.Client, token string) (*rest, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%w %q: want https://HOST, https://HOST:PORT or, on this machine, http://localhost:PORT", ErrServerAddress, server)
	}
	return &rest{base: u.Scheme + "://" + u.Host, client: client, token: token}, nil
}

// call sends in (nil for none) and reads the answer into out (nil for none). An error of the server
// comes back as *proto.Error.
func (r *rest) call(ctx context.Context, method, path string, in, out gproto.Message) error {
	return exchange(ctx, r, method, path, in, out)
}

// doer makes requests to the REST API: rest, or somebody's device.
type doer interface {
	do(ctx context.Context, call restCall) ([]byte, error)
}

// exchange sends in (nil for none) and reads the answer into out (nil for none).
func exchange(ctx context.Context, d doer, method, path string, in, out gproto.Message) error {
	call := restCall{Method: method, Path: path}
	if in != nil {
		b, err := protojson.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		call.Body, call.Type = b, "application/json"
	}
	b, err := d.do(ctx, call)
	if err != nil || out == nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: proto.MaxDepth}).Unmarshal(b, out); err != nil {
		return fmt.Errorf("%w: what answered at %s is not Parley", ErrUnreachable, path)
	}
	return nil
}

// restCall is a request with a body of some type; empty without one.
type restCall struct {
	Method, Path string
	Type         string `json:",omitempty"`
	Body         []byte `json:",omitempty"`
}

// do makes a request and returns the body of its answer.
func (r *rest) do(ctx context.Context, c restCall) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.Method, r.base+c.Path, bytes.NewReader(c.Body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	if c.Type != "" {
		req.Header.Set("Content-Type", c.Type)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, unreachable(r.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, restBody))
	if err != nil {
		return nil, unreachable(r.base, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, problem(r.base, res, b)
	}
	return b, nil
}

// unreachable wraps a failure to reach a server and says what to do about the common ones.
func unreachable(server string, err error) error {
	var (
		request   *url.Error
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		network   *net.OpError
	)
	if errors.As(err, &request) {
		err = request.Err // without method and address, which stand in front already
	}
	if errors.As(err, &network) {
		err = network.Err
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Errorf("%w: %s: there is no TLS on this port: use http://", ErrUnreachable, server)
	case errors.As(err, &authority):
		return fmt.Errorf("%w: %s: %w: if it is self-signed, name its file in SSL_CERT_FILE", ErrUnreachable, server, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, server, err)
}

// notParley says what answered in the server's place.
func notParley(server string, res *http.Response, body []byte) error {
	if bytes.Contains(body, []byte("HTTP request to an HTTPS server")) { // net/http's answer to plain HTTP
		return fmt.Errorf("%w: %s: this port speaks TLS: use https://", ErrUnreachable, server)
	}
	return fmt.Errorf("%w: %s: it answered %s, which is not Parley", ErrUnreachable, server, res.Status)
}

func problem(server string, res *http.Response, body []byte) error {
	var p pb.Problem
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &p); err != nil || p.GetCode() == "" {
		return notParley(server, res, body)
	}
	code := pb.ErrorCode_value["ERROR_CODE_"+strings.ToUpper(p.GetCode())]
	text := p.GetDetail()
	if text == "" {
		text = p.GetTitle()
	}
	return &proto.Error{
		Code: pb.ErrorCode(code), Message: text, RetryAfter: time.Duration(min(p.GetRetryAfterMs(), 1<<40)) * time.Millisecond,
	}
}
