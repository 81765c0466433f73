package signal

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/proto"
)

// Frames a second, and at once, of a connection and of an account's connections together.
const (
	framesPerSec        = 200
	framesBurst         = 1000
	accountFramesPerSec = 400
	accountFramesBurst  = 2000
	maxBudgets          = 10_000 // accounts remembered; beyond that those with a full budget are forgotten
)

// budgets holds what each account may still send. It outlives connections, so that coming back is no way
// around the limit of one.
type budgets struct {
	mu        sync.Mutex
	byAccount map[proto.ID]*rate.Limiter
}

func newBudgets() *budgets { return &budgets{byAccount: make(map[proto.ID]*rate.Limiter)} }

func (b *budgets) of(account proto.ID, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit, ok := b.byAccount[account]
	if ok {
		return limit
	}
	if len(b.byAccount) >= maxBudgets {
		for id, l := range b.byAccount {
			if l.TokensAt(now) >= accountFramesBurst {
				delete(b.byAccount, id)
			}
		}
	}
	limit = rate.NewLimiter(accountFramesPerSec, accountFramesBurst)
	b.byAccount[account] = limit
	return limit
}
