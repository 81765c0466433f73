package proto

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestErrorCrossesTheWire(t *testing.T) {
	t.Parallel()
	e := &Error{Code: pb.ErrorCode_ERROR_CODE_RATE_LIMITED, Message: "slow down", RetryAfter: 1500 * time.Millisecond}
	wire := e.ToProto()
	if !wire.GetRetryable() || wire.GetRetryAfterMs() != 1500 {
		t.Errorf("wire form %v", wire)
	}
	if got := FromProto(wire); *got != *e || got.Name() != "rate_limited" {
		t.Errorf("got %+v", got)
	}
	if got := FromProto(&pb.Error{RetryAfterMs: math.MaxUint64}); got.RetryAfter != time.Hour {
		t.Errorf("a server makes us wait for %v", got.RetryAfter)
	}
	if got := (&Error{RetryAfter: -1}).ToProto().GetRetryAfterMs(); got != 0 {
		t.Errorf("negative wait became %d", got)
	}
}

func TestAsErrorFindsWrapped(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("post: %w", Errorf(expired, "late by %d", 3))
	if e, ok := AsError(err); !ok || e.Code != expired || e.Error() != "late by 3" || !HasCode(err, expired) || HasCode(err, usedUp) {
		t.Errorf("found %v", e)
	}
	if _, ok := AsError(errors.New("plain")); ok || HasCode(nil, expired) {
		t.Error("found a code where there is none")
	}
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	for code := range pb.ErrorCode_name {
		c := pb.ErrorCode(code)
		want := c == pb.ErrorCode_ERROR_CODE_INTERNAL || c == pb.ErrorCode_ERROR_CODE_RATE_LIMITED || c == pb.ErrorCode_ERROR_CODE_STORE_FULL
		if got := Errorf(c, "x").Retryable(); got != want {
			t.Errorf("%v retryable: %v", c, got)
		}
	}
}
