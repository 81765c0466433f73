package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server address %q: want http://HOST:PORT or https://HOST", server)
	}
	return &rest{base: u.Scheme + "://" + u.Host, client: client, token: token}, nil
}

// call sends in (nil for none) and reads the answer into out (nil for none). An error of the server
// comes back as *proto.Error.
func (r *rest) call(ctx context.Context, method, path string, in, out gproto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := protojson.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, r.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, restBody))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, r.base, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return problem(res, b)
	}
	if out == nil {
		return nil
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s: the server's answer is not understood: %w", path, err)
	}
	return nil
}

func problem(res *http.Response, body []byte) error {
	var p pb.Problem
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &p); err != nil || p.GetCode() == "" {
		return fmt.Errorf("%w: it answered %s, which is not Parley", ErrUnreachable, res.Status)
	}
	code := pb.ErrorCode_value["ERROR_CODE_"+strings.ToUpper(p.GetCode())]
	text := p.GetDetail()
	if text == "" {
		text = p.GetTitle()
	}
	return &proto.Error{
		Code: pb.ErrorCode(code), Message: text, RetryAfter: time.Duration(min(p.GetRetryAfterMs(), 1<<40)) * time.Millisecond, //nolint:gosec // capped
	}
}
