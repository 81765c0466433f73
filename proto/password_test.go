package proto

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestWeakParametersCostNothing: a server that asks for them must not get anything to guess from, and a
// phone must not be made to fill its memory.
func TestWeakParametersCostNothing(t *testing.T) {
	t.Parallel()
	for _, p := range append(passwordParams(), nil, &pb.PasswordParams{MemoryKib: 8, Time: 1, Parallelism: 1}) {
		if CheckPasswordParams(p) == nil {
			continue
		}
		auth, wrap, err := PasswordSecrets("password", "chat.example", "alice", p)
		if !HasCode(err, weak) || auth != nil || wrap != nil {
			t.Errorf("parameters %v: %v", p, err)
		}
	}
}

func TestNewPasswordParams(t *testing.T) {
	t.Parallel()
	a, b := NewPasswordParams("chat.example"), NewPasswordParams("chat.example")
	if err := CheckPasswordParams(a); err != nil || a.GetHost() != "chat.example" || string(a.GetSalt()) == string(b.GetSalt()) {
		t.Errorf("%v and %v: %v", a, b, err)
	}
}

func TestPasswordSecretsWantAName(t *testing.T) {
	t.Parallel()
	if _, _, err := PasswordSecrets("password", "chat.example", "a b", NewPasswordParams("")); !HasCode(err, nameInvalid) {
		t.Error(err)
	}
}
