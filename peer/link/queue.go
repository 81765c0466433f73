package link

import "sync"

// queue runs functions one after another, in a goroutine that exists only while there is work, so that an idle link
// costs none. It is the owner of a Link's sessions: whatever touches them is pushed here.
type queue struct {
	wg *sync.WaitGroup // counts the goroutine while it runs

	mu      sync.Mutex
	tasks   []func()
	foreign int // of tasks: those made by signals from outside
	running bool
	closed  bool
}

// foreignLimit bounds the signals that wait in one link's queue; what comes beyond is dropped, and the other end's
// repetition (see session.retry) makes up for it.
const foreignLimit = 256

// push adds a function; false once the queue is closed. The package's own events are few per session and not bounded.
func (q *queue) push(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.add(f)
}

// pushForeign adds a function on behalf of the other end; false if the queue is closed or full.
func (q *queue) pushForeign(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.foreign >= foreignLimit {
		return false
	}
	if !q.add(func() {
		q.mu.Lock()
		q.foreign--
		q.mu.Unlock()
		f()
	}) {
		return false
	}
	q.foreign++
	return true
}

// add is called with mu held.
func (q *queue) add(f func()) bool {
	if q.closed {
		return false
	}
	q.tasks = append(q.tasks, f)
	if !q.running {
		q.running = true
		q.wg.Add(1)
		go q.run()
	}
	return true
}

// close refuses further functions; those that wait still run.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) run() {
	defer q.wg.Done()
	for {
		q.mu.Lock()
		if len(q.tasks) == 0 {
			q.tasks = nil
			q.running = false
			q.mu.Unlock()
			return
		}
		f := q.tasks[0]
		q.tasks[0] = nil
		q.tasks = q.tasks[1:]
		q.mu.Unlock()
		f()
	}
}
