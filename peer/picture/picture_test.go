package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"runtime"
	"strings"
	"testing"
)

var (
	red   = color.RGBA{R: 230, A: 255}
	green = color.RGBA{G: 200, A: 255}
	blue  = color.RGBA{B: 230, A: 255}
	gray  = color.RGBA{R: 120, G: 120, B: 120, A: 255}
)

// corners is an image whose quarters are, from the upper left on: red, green, blue, gray.
func corners(w, h int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, map[[2]bool]color.RGBA{{true, true}: red, {false, true}: green, {true, false}: blue, {false, false}: gray}[[2]bool{x < w/2, y < h/2}])
		}
	}
	return img
}

func encoded(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t *testing.T, img image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, img, &jpeg.Options{Quality: 95}) })
}

// withEXIF puts an EXIF segment with an orientation and a place into a JPEG file.
func withEXIF(file []byte, order binary.AppendByteOrder, orientation uint16) []byte {
	tiff := []byte("MM\x00*")
	if order.String() == "LittleEndian" {
		tiff = []byte("II*\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	for _, tag := range [][2]uint16{{271, 1}, {274, orientation}} {
		tiff = order.AppendUint16(tiff, tag[0])
		tiff = order.AppendUint16(tiff, 3)
		tiff = order.AppendUint32(tiff, 1)
		tiff = order.AppendUint16(tiff, tag[1])
		tiff = order.AppendUint16(tiff, 0)
	}
	body := append([]byte("Exif\x00\x00"), tiff...)
	body = append(body, "GPS 47.3769 N 8.5417 E"...)
	segment := binary.BigEndian.AppendUint16([]byte{0xFF, 0xE1}, uint16(len(body)+2))
	out := append([]byte{0xFF, 0xD8}, segment...)
	return append(append(out, body...), file[2:]...)
}

func near(a color.Color, b color.RGBA) bool {
	r, g, bl, _ := a.RGBA()
	differ := func(x uint32, y uint8) bool { return max(x>>8, uint32(y))-min(x>>8, uint32(y)) > 40 }
	return !differ(r, b.R) && !differ(g, b.G) && !differ(bl, b.B)
}

func decoded(t *testing.T, avatar []byte) image.Image {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(avatar))
	if err != nil || format != "jpeg" || img.Bounds() != image.Rect(0, 0, Side, Side) || len(avatar) > MaxBytes {
		t.Fatalf("%s of %v, %d bytes: %v", format, img.Bounds(), len(avatar), err)
	}
	return img
}

// TestAvatar makes avatars of every format, wide and high, tiny and large.
func TestAvatar(t *testing.T) {
	palette := image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{red, green, blue, gray})
	for y := range 30 {
		for x := range 40 {
			palette.Set(x, y, corners(40, 30).At(x, y))
		}
	}
	for name, file := range map[string][]byte{
		"png":       encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, corners(300, 500)) }),
		"jpeg":      asJPEG(t, corners(1200, 640)),
		"gif":       encoded(t, func(b *bytes.Buffer) error { return gif.Encode(b, palette, nil) }),
		"tiny":      encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, corners(2, 2)) }),
		"with EXIF": withEXIF(asJPEG(t, corners(600, 600)), binary.BigEndian, 1),
	} {
		avatar, err := Avatar(bytes.NewReader(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		img := decoded(t, avatar)
		for at, want := range map[image.Point]color.RGBA{{20, 20}: red, {235, 20}: green, {20, 235}: blue, {235, 235}: gray} {
			if got := img.At(at.X, at.Y); !near(got, want) {
				t.Errorf("%s: at %v is %v, want %v", name, at, got, want)
			}
		}
	}
}

// TestOrientation turns what a camera says lies on its side, and nothing of what it wrote is left.
func TestOrientation(t *testing.T) {
	// Where the red quarter and the green one are to be seen, as EXIF defines the eight ways.
	upper, lower := map[string]image.Point{"left": {20, 20}, "right": {235, 20}}, map[string]image.Point{"left": {20, 235}, "right": {235, 235}}
	want := map[uint16][2]image.Point{
		1: {upper["left"], upper["right"]}, 2: {upper["right"], upper["left"]}, 3: {lower["right"], lower["left"]}, 4: {lower["left"], lower["right"]},
		5: {upper["left"], lower["left"]}, 6: {upper["right"], lower["right"]}, 7: {lower["right"], upper["right"]}, 8: {lower["left"], upper["left"]},
		9: {upper["left"], upper["right"]},
	}
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		for orientation, places := range want {
			avatar, err := Avatar(bytes.NewReader(withEXIF(asJPEG(t, corners(512, 512)), order, orientation)))
			if err != nil {
				t.Fatal(err)
			}
			img := decoded(t, avatar)
			if !near(img.At(places[0].X, places[0].Y), red) || !near(img.At(places[1].X, places[1].Y), green) {
				t.Errorf("%v orientation %d: red is not at %v or green not at %v", order, orientation, places[0], places[1])
			}
			if bytes.Contains(avatar, []byte("Exif")) || bytes.Contains(avatar, []byte("GPS")) {
				t.Errorf("orientation %d: what the camera wrote is still there", orientation)
			}
		}
	}
}

// TestTransparent shows what is transparent as white, not black.
func TestTransparent(t *testing.T) {
	avatar, err := Avatar(bytes.NewReader(encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, image.NewNRGBA(image.Rect(0, 0, 50, 50))) })))
	if err != nil {
		t.Fatal(err)
	}
	if got := decoded(t, avatar).At(100, 100); !near(got, color.RGBA{255, 255, 255, 255}) {
		t.Errorf("it is %v", got)
	}
}

// hugePNG claims a size in its header and has nothing behind it.
func hugePNG(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	b = binary.BigEndian.AppendUint32(b, w)
	b = binary.BigEndian.AppendUint32(b, h)
	b = append(b, 8, 6, 0, 0, 0)
	var crc [4]byte
	binary.BigEndian.PutUint32(crc[:], crc32.ChecksumIEEE(b[12:]))
	return append(b, crc[:]...)
}

// TestRefused is what no avatar is made of, and says why; a large one costs no memory.
func TestRefused(t *testing.T) {
	huge := encoded(t, func(b *bytes.Buffer) error {
		return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(b, image.NewGray(image.Rect(0, 0, 8000, 5000)))
	})
	half := asJPEG(t, corners(400, 400))
	for name, test := range map[string]struct {
		file []byte
		is   error
		says string
	}{
		"40 megapixels":  {huge, ErrTooLarge, "40 million pixels"},
		"claims a lot":   {hugePNG(100_000, 100_000), ErrTooLarge, "million pixels"},
		"no pixels":      {hugePNG(0, 10), ErrNoImage, "no picture"},
		"text":           {[]byte("I am a picture, honestly"), ErrNoImage, "choose a PNG, JPEG or GIF"},
		"empty":          {nil, ErrNoImage, "no picture"},
		"half a picture": {half[:len(half)/3], ErrNoImage, "damaged"},
		"large file":     {make([]byte, MaxFile+1), ErrTooLarge, "32 MiB"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Avatar(bytes.NewReader(test.file))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; errors.Is(test.is, ErrTooLarge) && name != "large file" && spent > 4<<20 {
			t.Errorf("%s: %d bytes were spent on it", name, spent)
		}
	}
}

// FuzzOrientation reads whatever a file says of itself.
func FuzzOrientation(f *testing.F) {
	f.Add(withEXIF([]byte{0xFF, 0xD8, 0xFF, 0xD9}, binary.BigEndian, 6))
	f.Add(withEXIF([]byte{0xFF, 0xD8, 0xFF, 0xD9}, binary.LittleEndian, 3))
	f.Fuzz(func(_ *testing.T, file []byte) { orientation(file) })
}
