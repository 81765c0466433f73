package peer

import "sync"

// tasks are the goroutines that somebody has to wait for in the end. Once wait began, none is added any more.
type tasks struct {
	mu     sync.Mutex
	ending bool
	group  sync.WaitGroup
}

// enter counts the calling goroutine until leave; false says that it is too late.
func (t *tasks) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ending {
		t.group.Add(1)
	}
	return !t.ending
}

func (t *tasks) leave() { t.group.Done() }

// start runs f in a goroutine of its own; false says that it is too late.
func (t *tasks) start(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.leave()
		f()
	}()
	return true
}

// wait returns when all have ended. The caller has told them to.
func (t *tasks) wait() {
	t.mu.Lock()
	t.ending = true
	t.mu.Unlock()
	t.group.Wait()
}
