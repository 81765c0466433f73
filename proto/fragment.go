package proto

// Fragments cuts a frame into the messages of a control channel: a byte that says whether more
// follows (1) or not (0), and up to MaxFragment-1 bytes.
func Fragments(frame []byte) [][]byte {
	const room = MaxFragment - 1
	out := make([][]byte, 0, len(frame)/room+1)
	for len(frame) > room {
		out = append(out, append([]byte{1}, frame[:room]...))
		frame = frame[room:]
	}
	return append(out, append([]byte{0}, frame...))
}

// Reassembler joins the messages of one control channel into frames. Its zero value is ready.
type Reassembler struct {
	partial []byte
}

// Add takes the next message, which it copies, and returns the frame that it completes, nil while more is
// to come. At most MaxFrame bytes are kept. After an error the channel is of no more use.
func (r *Reassembler) Add(message []byte) ([]byte, error) {
	switch {
	case len(message) == 0 || message[0] > 1:
		return nil, Errorf(malformed, "a fragment does not say whether more follows")
	case len(message) > MaxFragment, message[0] == 1 && len(message) == 1:
		return nil, Errorf(malformed, "a fragment has the wrong size")
	case len(r.partial)+len(message)-1 > MaxFrame:
		return nil, Errorf(tooLarge, "a frame is larger than %d bytes", MaxFrame)
	}
	r.partial = append(r.partial, message[1:]...)
	if message[0] == 1 {
		return nil, nil
	}
	frame := r.partial
	r.partial = nil
	if frame == nil {
		frame = []byte{}
	}
	return frame, nil
}
