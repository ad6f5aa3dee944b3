package cqrs

import (
	"context"
	"encoding/binary"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"go.etcd.io/bbolt"
)

// A version of the aggregate that was built from a store which lacked the rest begins before where the old one stood, and could not tell that the
// log was cut off in between. So where the old one stood is kept until the new one has come to it.

// place is a place in the log, and the message before it.
type place struct {
	offset int64
	anchor anchor
}

func (p place) encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.offset)), p.anchor[:]...)
}

func decodePlace(b []byte) (p place) {
	if len(b) == 8+len(p.anchor) {
		p.offset = int64(binary.BigEndian.Uint64(b))
		copy(p.anchor[:], b[8:])
	}
	return p
}

// keepOutran notes where old stood, or what was before it had, when a version at that offset has not come there yet.
func keepOutran(tx *bbolt.Tx, next, old *aggregate, offset int64) error {
	was := place{old.position().offset, old.position().anchor}
	if before := decodePlace(tx.Bucket(old.stateName).Get(outranKey)); before.offset > was.offset {
		was = before
	}
	state := tx.Bucket(next.stateName)
	if was.offset <= offset || was.anchor == (anchor{}) || mutant.Is("what an earlier version had applied forgotten") {
		return state.Delete(outranKey)
	}
	return state.Put(outranKey, was.encode())
}

// checkOutran makes sure that the log, which goes from start to end, still holds what an earlier version had applied.
func (s *Shard) checkOutran(ctx context.Context, start, end int64) error {
	raw, err := s.state(outranKey)
	was := decodePlace(raw)
	switch {
	case err != nil, was.offset <= s.agg().position().offset, was.offset <= start:
		return err
	case was.offset > end:
		return s.logError(&queue.RangeError{Topic: topicEvents, Shard: s.n, Want: was.offset, Start: start, End: end})
	}
	return s.holds(ctx, was.offset-1, was.anchor)
}
