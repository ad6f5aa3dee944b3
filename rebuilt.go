package cqrs

import (
	"encoding/binary"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"go.etcd.io/bbolt"
)

// A replica that was built from the store reads the log from its start all the same: the store does not know the commands that
// were refused. While it passes what it has from the store, a refusal is judged by the digest at its place in the log, which the
// commits around it tell.

// rebuilt is how far the log has come of what came from the store. It is kept beside the position until the log has come to a commit that did
// not come from there.
type rebuilt struct {
	last   uint64 // the last t that came from the store
	t      uint64 // the last one that the log has come to; 0: none yet
	digest Digest // behind t
}

func (b *batch) setRebuilt(r *rebuilt) error {
	b.used = true
	return b.tx.Bucket(b.agg.stateName).Put(rebuiltName, r.encode())
}

func (r *rebuilt) encode() []byte {
	raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, r.last), r.t)
	return append(raw, r.digest[:]...)
}

// rebuilding tells whether what came last of the log may have come from the store.
func (b *batch) rebuilding() (r rebuilt, yet bool) {
	return decodeRebuilt(b.tx.Bucket(b.agg.stateName).Get(rebuiltName))
}

func decodeRebuilt(raw []byte) (r rebuilt, is bool) {
	if len(raw) != 16+len(r.digest) {
		return r, false
	}
	r.last, r.t, r.digest = binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:]), Digest(raw[16:])
	return r, true
}

// lostPlace forgets how far the log has come of what came from the store: a piece of it was skipped.
func lostPlace(state *bbolt.Bucket) error {
	r, yet := decodeRebuilt(state.Get(rebuiltName))
	if !yet {
		return nil
	}
	return state.Put(rebuiltName, (&rebuilt{last: r.last}).encode())
}

// halfBuilt tells that the process was stopped while it built the aggregate from the store.
func (s *Shard) halfBuilt() (bool, error) {
	raw, err := s.state(rebuiltName)
	r, is := decodeRebuilt(raw)
	return is && s.agg().position().t < r.last, err
}

// passStored notes that the log has come to a commit that came from the store, and where that is: who owns the shard may have to tell of it, as of
// any other. One that was void at this place, or stands here once more, is passed over.
func (b *batch) passStored(c *Commit, m *mark, offset int64) (passed bool, err error) {
	r, yet := b.rebuilding()
	if !yet || m.t <= r.t || len(m.refusal) != len(r.digest) || c.Prev != nil && Digest(c.Prev).next(c.bytes) != Digest(m.refusal) {
		return false, nil
	}
	r.t, r.digest = m.t, Digest(m.refusal)
	if err := b.setRebuilt(&r); err != nil || mutant.Is("commit from the store told to nobody") {
		return false, err
	}
	found := mark{t: m.t, payload: m.payload, refusal: binary.BigEndian.AppendUint64(nil, uint64(offset))}
	return true, b.setMark(c.Command[:], &found)
}

// endRebuilt notes that the log has come to a commit that did not come from the store, or to its end.
func (b *batch) endRebuilt() error {
	if _, yet := b.rebuilding(); !yet || mutant.Is("rebuild never at its end") {
		return nil
	}
	b.used = true
	return b.tx.Bucket(b.agg.stateName).Delete(rebuiltName)
}

// validRefusal tells whether a refusal was decided at the value that it stands behind. Before the first commit that came from the
// store that can't be told, and it counts.
func (b *batch) validRefusal(f *refusal) bool {
	if r, yet := b.rebuilding(); yet {
		if mutant.Is("any refusal counts while rebuilding") {
			return true
		}
		return r.t == 0 || f.prev == r.digest
	}
	return f.prev == b.pos.digest
}
