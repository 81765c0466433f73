// Package picture makes avatars out of image files on the device: small, square, and without anything that a camera wrote
// into the file. Nothing of the original but its pixels goes on. It never talks to the network.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // formats that Avatar reads
	"image/jpeg"
	_ "image/png" // decoded too
	"io"

	"golang.org/x/image/draw"
)

const (
	// Side is an avatar's width and height in pixels.
	Side = 256
	// MaxFile is the largest file read, in bytes.
	MaxFile = 32 << 20
	// MaxPixels is the largest image opened: it takes four bytes a pixel in memory.
	MaxPixels = 32_000_000
	// MaxBytes is the largest avatar that a server takes.
	MaxBytes = 64 << 10
)

// Errors are what is wrong with a file, for the person who chose it.
var (
	ErrNoImage  = errors.New("this is no picture: choose a PNG, JPEG or GIF file")
	ErrTooLarge = errors.New("this picture is too large")
)

// Avatar reads a PNG, JPEG or GIF file and returns its middle as a JPEG of 256 × 256 pixels, upright, transparent parts white.
// An image with more than MaxPixels is refused before it is opened.
func Avatar(file io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%w: the file has more than %d MiB", ErrTooLarge, MaxFile>>20)
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, ErrNoImage
	}
	if config.Width <= 0 || config.Height <= 0 {
		return nil, ErrNoImage
	}
	if pixels := int64(config.Width) * int64(config.Height); pixels > MaxPixels {
		return nil, fmt.Errorf("%w: it has %d million pixels, %d are the most: make it smaller first", ErrTooLarge, pixels/1_000_000, MaxPixels/1_000_000)
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w (it is damaged: %w)", ErrNoImage, err)
	}
	square := scaled(img)
	if format == "jpeg" {
		square = upright(square, orientation(b))
	}
	return encode(square)
}

// scaled is the largest square in the middle of an image, on white, as large as an avatar.
func scaled(img image.Image) *image.RGBA {
	b := img.Bounds()
	side := min(b.Dx(), b.Dy())
	corner := image.Pt(b.Min.X+(b.Dx()-side)/2, b.Min.Y+(b.Dy()-side)/2)
	out := image.NewRGBA(image.Rect(0, 0, Side, Side))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(out, out.Bounds(), img, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(side, side))}, draw.Over, nil)
	return out
}

// encode writes as good a JPEG as fits.
func encode(img image.Image) ([]byte, error) {
	for quality := 88; quality > 0; quality -= 16 {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: quality}); err != nil {
			return nil, fmt.Errorf("write picture: %w", err)
		}
		if out.Len() <= MaxBytes {
			return out.Bytes(), nil
		}
	}
	return nil, ErrTooLarge
}

// upright turns and mirrors a square as its EXIF orientation says (CIPA DC-008 §4.6.5, tag 274).
func upright(img *image.RGBA, orientation int) *image.RGBA {
	if orientation <= 1 || orientation > 8 {
		return img
	}
	out := image.NewRGBA(img.Bounds())
	last := Side - 1
	for y := range Side {
		for x := range Side {
			fromX, fromY := x, y
			switch orientation {
			case 2: // mirrored
				fromX = last - x
			case 3: // upside down
				fromX, fromY = last-x, last-y
			case 4:
				fromY = last - y
			case 5: // mirrored and on its side
				fromX, fromY = y, x
			case 6: // to be turned clockwise
				fromX, fromY = y, last-x
			case 7:
				fromX, fromY = last-y, last-x
			case 8: // to be turned counter-clockwise
				fromX, fromY = last-y, x
			}
			out.SetRGBA(x, y, img.RGBAAt(fromX, fromY))
		}
	}
	return out
}
