package proto

import (
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Parameters of Argon2id (RFC 9106): what new passwords use and what a client takes from a server.
const (
	argonMemory    = 64 << 10 // KiB
	argonMaxMemory = 1 << 20
	argonTime      = 3
	argonMaxTime   = 16
	argonThreads   = 1
	argonMax       = 4
	saltSize       = 16
	saltMax        = 64
)

// NewPasswordParams makes the parameters for a new password, set at the given host.
func NewPasswordParams(host string) *pb.PasswordParams {
	return &pb.PasswordParams{
		MemoryKib: argonMemory, Time: argonTime, Parallelism: argonThreads, Salt: randomBytes(saltSize), Host: host,
	}
}

// CheckPasswordParams refuses parameters that would make a password cheap to guess, or a client work
// without end (code weak_parameters). Servers check it too, so that nobody stores such an account.
func CheckPasswordParams(p *pb.PasswordParams) error {
	switch {
	case p.GetMemoryKib() < argonMemory, p.GetTime() < argonTime, len(p.GetSalt()) < saltSize:
		return Errorf(weak, "the server asks to derive the password in a weak way: nothing was sent to it")
	case p.GetMemoryKib() > argonMaxMemory, p.GetTime() > argonMaxTime, p.GetParallelism() < 1, p.GetParallelism() > argonMax,
		len(p.GetSalt()) > saltMax:
		return Errorf(weak, "the server asks for password parameters out of range: nothing was sent to it")
	}
	return nil
}

// PasswordSecrets derives what proves the password to the server and what opens the account. It
// refuses weak parameters before it does anything with the password.
func PasswordSecrets(password, host, user string, p *pb.PasswordParams) (auth, wrap []byte, err error) {
	if err = CheckPasswordParams(p); err != nil {
		return nil, nil, err
	}
	folded, err := FoldUserName(user)
	if err != nil {
		return nil, nil, err
	}
	salt := Hash(LabelPassword, []byte(host), []byte(folded), p.GetSalt())
	out := argon2.IDKey([]byte(norm.NFC.String(password)), salt[:], p.GetTime(), p.GetMemoryKib(), uint8(p.GetParallelism()), 64) //nolint:gosec // at most 4
	return Derive(out, LabelAuth), Derive(out, LabelWrap), nil
}

// StoredAuth is what the server keeps of an auth secret.
func StoredAuth(serverSalt, auth []byte) [HashSize]byte {
	return Hash(LabelAuthStore, serverSalt, auth)
}
