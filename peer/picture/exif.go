package picture

import (
	"bytes"
	"encoding/binary"
)

// orientation finds the EXIF orientation of a JPEG file, 1 (upright) if there is none or it does not parse. Nothing else of
// EXIF is read.
func orientation(file []byte) int {
	for _, segment := range applicationSegments(file) {
		if tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok {
			return orientationOf(tiff)
		}
	}
	return 1
}

const (
	markerStart   = 0xFF
	markerImage   = 0xD8 // start of image
	markerScan    = 0xDA // the picture itself follows
	markerExif    = 0xE1 // APP1
	maxSegments   = 64
	maxTags       = 256
	tagOrient     = 274
	typeShort     = 3
	tiffEntrySize = 12
)

// applicationSegments are the APP1 segments in front of the picture.
func applicationSegments(file []byte) (all [][]byte) {
	if len(file) < 2 || file[0] != markerStart || file[1] != markerImage {
		return nil
	}
	rest := file[2:]
	for range maxSegments {
		if len(rest) < 4 || rest[0] != markerStart || rest[1] == markerScan {
			return all
		}
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size < 2 || len(rest) < 2+size {
			return all
		}
		if rest[1] == markerExif {
			all = append(all, rest[4:2+size])
		}
		rest = rest[2+size:]
	}
	return all
}

// orientationOf reads the first directory of a TIFF header.
func orientationOf(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	start := uint64(order.Uint32(tiff[4:]))
	if start+2 > uint64(len(tiff)) {
		return 1
	}
	count := int(order.Uint16(tiff[start:]))
	entries := tiff[start+2:]
	for range min(count, maxTags) {
		if len(entries) < tiffEntrySize {
			return 1
		}
		if order.Uint16(entries) == tagOrient && order.Uint16(entries[2:]) == typeShort {
			return int(order.Uint16(entries[8:]))
		}
		entries = entries[tiffEntrySize:]
	}
	return 1
}
