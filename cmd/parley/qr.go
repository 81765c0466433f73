package main

import (
	"fmt"
	"io"
	"strings"

	"rsc.io/qr"
)

const qrQuiet = 2 // modules around the code: the standard wants four, but phones take two on a terminal

// drawQR draws a QR code with two modules in each character, in black on white whatever the terminal's colours are.
func drawQR(out io.Writer, text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return fmt.Errorf("QR code: %w", err)
	}
	var b strings.Builder
	for y := -qrQuiet; y < code.Size+qrQuiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -qrQuiet; x < code.Size+qrQuiet; x++ {
			b.WriteString(map[[2]bool]string{
				{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█",
			}[[2]bool{code.Black(x, y), code.Black(x, y+1)}])
		}
		b.WriteString("\x1b[0m\n")
	}
	_, err = io.WriteString(out, b.String())
	return err
}
