//go:build unix

package peer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func tryLock(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrProfileBusy
	}
	if err != nil {
		return fmt.Errorf("lock profile: %w", err)
	}
	return nil
}
