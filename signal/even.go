package signal

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gin-gonic/gin"
)

const notBefore = "not before" // in a request's context: when it is answered at the earliest

// even has a request answered no sooner than a moment after it came, whatever there was to do for it: how long a look-up
// takes would tell whether a name, a code or an account exists. It has to cover reply and fail.
func (s *Server) even(c *gin.Context) { c.Set(notBefore, s.Timing.evenly()) }

// evenly is when a look-up that comes now is answered. A random part hides what is left of the difference, such as how long
// the answer is.
func (t Timing) evenly() time.Time {
	return time.Now().Add(t.Even + rand.N(t.Even+1)) //nolint:gosec // noise, not a secret
}

// await waits until a request may be answered.
func (s *Server) await(c *gin.Context) {
	if at, ok := c.Get(notBefore); ok {
		until(c.Request.Context(), at.(time.Time)) //nolint:forcetypeassert // as even puts it there
	}
}

// until waits for a time, or for the end of ctx.
func until(ctx context.Context, at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
