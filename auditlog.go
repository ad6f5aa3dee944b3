package cqrs

import (
	"context"
	"iter"
	"math/bits"

	"github.com/cqrs-server/cqrs/store"
)

// tSet is a set of t's.
type tSet map[uint64]uint64 // by t/64, a bit for each

func (s tSet) has(t uint64) bool { return s[t/64]>>(t%64)&1 != 0 }

func (s tSet) add(t uint64) {
	if t > 0 {
		s[t/64] |= 1 << (t % 64)
	}
}

// upTo counts those from 1 to t.
func (s tSet) upTo(t uint64) (n uint64) {
	for word, set := range s {
		switch {
		case word == t/64:
			set &= 1<<(t%64+1) - 1
		case word > t/64:
			continue
		}
		n += uint64(bits.OnesCount64(set))
	}
	return n
}

// logCursor reads a shard's log by t. It is fast when one t follows another.
type logCursor struct {
	store store.Store
	shard int
	next  func() (store.Record, error, bool)
	stop  func()
	head  store.Record
}

// skipped is how far the cursor reads on before it searches.
const skipped = 500

func (l *logCursor) at(ctx context.Context, t uint64) (r store.Record, found bool, err error) {
	if l.next == nil || l.head.T > t || t > l.head.T+skipped {
		l.close()
		l.next, l.stop = iter.Pull2(l.store.Log(ctx, l.shard, t))
		l.head = store.Record{}
	}
	for l.head.T < t {
		head, err, ok := l.next()
		if err != nil || !ok {
			l.close()
			return r, false, err
		}
		l.head = head
	}
	return l.head, l.head.T == t, nil
}

func (l *logCursor) close() {
	if l.stop != nil {
		l.stop()
	}
	l.next, l.stop, l.head = nil, nil, store.Record{}
}
