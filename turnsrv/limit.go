package turnsrv

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// replyBuckets is the size of the table: 512 KiB, however many sources there are.
const replyBuckets = 1 << 16

// replyLimiter bounds answers to strangers, per source address, so that forged requests turn the server into
// no weapon. The table has a fixed size and no entry is ever removed: sources that fall into the same bucket
// share its allowance, and the seed keeps a sender from choosing who those are.
type replyLimiter struct {
	interval int64 // nanoseconds that one reply costs
	burst    int64 // nanoseconds that may be owed
	seed     maphash.Seed
	start    time.Time
	// buckets hold the generic cell rate algorithm's theoretical arrival time, in nanoseconds since start.
	buckets [replyBuckets]atomic.Int64
}

func newReplyLimiter(perSecond, burst int) *replyLimiter {
	interval := int64(time.Second) / int64(perSecond)
	return &replyLimiter{
		interval: interval, burst: interval * int64(burst), seed: maphash.MakeSeed(), start: time.Now(),
	}
}

// allow reports whether a source may get one more reply, and counts it.
func (l *replyLimiter) allow(source netip.Addr, now time.Time) bool {
	bucket := &l.buckets[maphash.Comparable(l.seed, sourceKey(source))%replyBuckets]
	elapsed := int64(now.Sub(l.start))
	for {
		old := bucket.Load()
		next := max(old, elapsed) + l.interval
		if next-elapsed > l.burst {
			return false
		}
		if bucket.CompareAndSwap(old, next) {
			return true
		}
	}
}

// sourceKey is what counts as one source: an IPv4 address, or the /64 that an IPv6 host can choose from.
func sourceKey(a netip.Addr) netip.Addr {
	a = canonical(a)
	if !a.Is6() {
		return a
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return prefix.Addr()
}
