package proto

import (
	"errors"
	"fmt"
	"strings"
	"time"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Short names of the codes this package itself uses.
const (
	malformed    = pb.ErrorCode_ERROR_CODE_MALFORMED
	tooLarge     = pb.ErrorCode_ERROR_CODE_TOO_LARGE
	badSignature = pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE
	unsupported  = pb.ErrorCode_ERROR_CODE_UNSUPPORTED
	forbidden    = pb.ErrorCode_ERROR_CODE_FORBIDDEN
	staleHead    = pb.ErrorCode_ERROR_CODE_STALE_HEAD
	staleList    = pb.ErrorCode_ERROR_CODE_STALE_LIST
	expired      = pb.ErrorCode_ERROR_CODE_EXPIRED
	usedUp       = pb.ErrorCode_ERROR_CODE_USED_UP
	nameInvalid  = pb.ErrorCode_ERROR_CODE_NAME_INVALID
	weak         = pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS
)

// Error is an error with a stable code. Its message is plain English for a person and carries no secret.
type Error struct {
	Code       pb.ErrorCode
	Message    string
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code pb.ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Retryable says that the same request may succeed later.
func (e *Error) Retryable() bool {
	return e.Code == pb.ErrorCode_ERROR_CODE_INTERNAL || e.Code == pb.ErrorCode_ERROR_CODE_RATE_LIMITED ||
		e.Code == pb.ErrorCode_ERROR_CODE_STORE_FULL
}

// Name is the code as REST clients see it: "rate_limited".
func (e *Error) Name() string {
	return strings.ToLower(strings.TrimPrefix(e.Code.String(), "ERROR_CODE_"))
}

// ToProto makes the wire form.
func (e *Error) ToProto() *pb.Error {
	return &pb.Error{
		Code: e.Code, Message: e.Message, Retryable: e.Retryable(), RetryAfterMs: uint64(max(e.RetryAfter.Milliseconds(), 0)),
	}
}

// FromProto reads the wire form.
func FromProto(e *pb.Error) *Error {
	after := time.Duration(min(e.GetRetryAfterMs(), uint64(time.Hour/time.Millisecond))) * time.Millisecond
	return &Error{Code: e.GetCode(), Message: e.GetMessage(), RetryAfter: after}
}

// AsError finds an Error in err's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// HasCode says whether err carries code.
func HasCode(err error, code pb.ErrorCode) bool {
	e, ok := AsError(err)
	return ok && e.Code == code
}
