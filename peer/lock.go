package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrProfileBusy says that another process has the profile open.
var ErrProfileBusy = errors.New("another process has this profile open")

const lockFile = "lock"

// profileLock is held by the one process that owns the device's socket, links, counters and outbox.
// The operating system releases it when the process ends, however that happens.
type profileLock struct {
	file *os.File
}

// lockProfile takes the lock of a profile folder, or returns ErrProfileBusy.
func lockProfile(dir string) (*profileLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the profile's own file
	if err != nil {
		return nil, fmt.Errorf("lock profile: %w", err)
	}
	if err := tryLock(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &profileLock{file: file}, nil
}

// waitForProfile takes the lock as soon as whoever has it lets it go; after patience it returns ErrProfileBusy.
func waitForProfile(ctx context.Context, dir string, patience time.Duration) (*profileLock, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(connectPause)
	defer tick.Stop()
	for {
		lock, err := lockProfile(dir)
		if !errors.Is(err, ErrProfileBusy) {
			return lock, err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

func (l *profileLock) release() error { return l.file.Close() } // closing the descriptor unlocks
