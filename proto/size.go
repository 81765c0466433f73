package proto

// checkSize refuses a field that has not exactly n bytes.
func checkSize(what string, b []byte, n int) error {
	if len(b) != n {
		return Errorf(malformed, "%s has %d bytes, not %d", what, len(b), n)
	}
	return nil
}
