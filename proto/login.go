package proto

import pb "github.com/parley-chat/parley/proto/parleyv1"

// MaxHost is the longest host name in bytes (RFC 1035 §2.3.4).
const MaxHost = 253

// OpenDeviceLogin verifies a log-in by the device that it names. Whether host and nonce are the server's
// own is for the server to check.
func OpenDeviceLogin(s *pb.Signed, lookup Lookup) (*pb.DeviceLogin, error) {
	login := &pb.DeviceLogin{}
	if err := Unmarshal(s.GetBody(), login); err != nil { // read to learn whose key to verify with
		return nil, err
	}
	if err := verifyBy(lookup, login.GetAccount(), login.GetDevice(), LabelLogin, s); err != nil {
		return nil, err
	}
	if n := len(login.GetHost()); n == 0 || n > MaxHost {
		return nil, Errorf(malformed, "a log-in does not name the server's host")
	}
	if err := check32("a log-in's nonce", login.GetNonce()); err != nil {
		return nil, err
	}
	return login, nil
}

// LoginNonceSize is the length in bytes of a Challenge's nonce.
const LoginNonceSize = 32
