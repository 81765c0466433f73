package proto

// check32 refuses a key, hash or long nonce that has not exactly 32 bytes.
func check32(what string, b []byte) error {
	if len(b) != KeySize {
		return Errorf(malformed, "%s has %d bytes, not %d", what, KeySize, len(b))
	}
	return nil
}
