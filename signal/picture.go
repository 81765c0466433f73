package signal

import (
	"bytes"
	"encoding/binary"
	"image/jpeg"
	"image/png"
	"net/http"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	maxAvatar     = 64 << 10 // bytes
	maxAvatarSide = 1024     // pixels; clients make 256 and decode what others made
)

// picture says which type an image has by its bytes alone, whatever its sender says. It fails for what is no JPEG, PNG or
// WebP image, and for one that would take much memory to decode. Only its head is looked at.
func picture(b []byte) (kind string, err error) {
	kind = http.DetectContentType(b)
	var width, height int
	switch kind {
	case "image/jpeg":
		c, e := jpeg.DecodeConfig(bytes.NewReader(b))
		width, height, err = c.Width, c.Height, e
	case "image/png":
		c, e := png.DecodeConfig(bytes.NewReader(b))
		width, height, err = c.Width, c.Height, e
	case "image/webp":
		width, height = webpSize(b)
	}
	if err != nil || width == 0 || height == 0 {
		return "", proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "this is not a JPEG, PNG or WebP image")
	}
	if width > maxAvatarSide || height > maxAvatarSide {
		return "", proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "the picture has %d × %d pixels, at most %d × %d are taken", width, height, maxAvatarSide, maxAvatarSide)
	}
	return kind, nil
}

// webpSize reads the size of a WebP image from its first chunk (RFC 9649 §2); 0 if there is none.
func webpSize(b []byte) (width, height int) {
	const head = 30 // of the file, the chunk, and as much of it as says the size
	if len(b) < head || string(b[:4]) != "RIFF" || string(b[8:12]) != "WEBP" {
		return 0, 0
	}
	chunk := b[20:head]
	switch string(b[12:16]) {
	case "VP8 ": // a key frame: three bytes, the start code, two times 14 bits
		if !bytes.Equal(chunk[3:6], []byte{0x9d, 0x01, 0x2a}) {
			return 0, 0
		}
		return int(binary.LittleEndian.Uint16(chunk[6:])) & 0x3fff, int(binary.LittleEndian.Uint16(chunk[8:])) & 0x3fff
	case "VP8L": // the signature, two times 14 bits less one
		if chunk[0] != 0x2f {
			return 0, 0
		}
		bits := binary.LittleEndian.Uint32(chunk[1:])
		return int(bits&0x3fff) + 1, int(bits>>14&0x3fff) + 1
	case "VP8X": // flags, two times 24 bits less one
		return int(uint24(chunk[4:])) + 1, int(uint24(chunk[7:])) + 1
	}
	return 0, 0
}

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }
