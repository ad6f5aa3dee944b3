package cqrs

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"go.etcd.io/bbolt"
)

// How rows are kept, in a bucket per table and two buckets for all tables of an aggregate:
//
//	rows/<table>  key                      newest version: flags, the t's at which the newest versions were written, row
//	history       replaced t, table, key   the version that was replaced at that t (or: that there was none), in chunks
//	groups        table, key, oldest t     the t's at which eight older versions were written, and the t that ended the newest of them
//
// The newest version stands in place, so a read of the newest is one look-up. History is led by the t at which a version was replaced,
// so writing it only appends, what a commit changed is one range, and pruning cuts the left end. A read as of an older t
// finds the t's of its version in the row itself or in one of its groups, and so needs three look-ups at any depth.

const (
	groupSize = 8

	isDeleted = 1
	hasOlder  = 2
	countAt   = 2 // the number of t's, less one, stands from this bit on
)

var errVersion = fmt.Errorf("cqrs: a row in the aggregate's file can't be read: %w", boltfile.ErrDamaged)

// version is the newest version of a row, as it lies in its table's bucket.
type version struct {
	deleted bool
	older   bool // there are groups
	n       int
	ts      [groupSize]uint64 // when this version was written, then the one before it, ...
	row     []byte
}

func (v *version) decode(raw []byte) error {
	if len(raw) == 0 {
		return errVersion
	}
	flags := raw[0]
	v.deleted, v.older = flags&isDeleted != 0, flags&hasOlder != 0
	v.n = int(flags>>countAt&7) + 1
	rest, err := decodeDescending(raw[1:], v.ts[:v.n])
	v.row = rest
	return err
}

func (v *version) append(dst []byte, row []byte) []byte {
	flags := byte(v.n-1) << countAt
	if v.deleted {
		flags |= isDeleted
	}
	if v.older {
		flags |= hasOlder
	}
	return append(appendDescending(append(dst, flags), v.ts[:v.n]), row...)
}

// appendDescending writes the first number and then how much each is smaller than the one before.
func appendDescending(dst []byte, ts []uint64) []byte {
	dst = binary.AppendUvarint(dst, ts[0])
	for i := 1; i < len(ts); i++ {
		dst = binary.AppendUvarint(dst, ts[i-1]-ts[i])
	}
	return dst
}

func decodeDescending(b []byte, ts []uint64) ([]byte, error) {
	for i := range ts {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errVersion
		}
		if i > 0 {
			v = ts[i-1] - v
		}
		ts[i], b = v, b[n:]
	}
	return b, nil
}

// replacedAt gives the t at which the version that is valid at t was replaced. ts are descending, and ts[0] > t.
func replacedAt(ts []uint64, t uint64) (uint64, bool) {
	for i := 1; i < len(ts); i++ {
		if ts[i] <= t {
			return ts[i-1], true
		}
	}
	return 0, false
}

// rowTx is a transaction's handle on the rows of an aggregate. What it gives out is valid until the transaction ends.
type rowTx struct {
	agg     *aggregate
	tx      *bbolt.Tx
	tables  []tableTx // by table id; filled as they are needed
	history *bbolt.Cursor
	over    *overlay        // what is supposed over the rows of the file; mostly nil
	own     boltfile.ReadTx // see enter

	arena   arena
	buffer  bytes.Buffer
	key     []byte     // scratch
	undo    []undoStep // what to put back, newest last
	pending pendingRows
	groups  pendingRows
}

func (r *rowTx) reset(agg *aggregate, tx *bbolt.Tx) {
	r.release()
	r.agg, r.tx = agg, tx
	if n := int(agg.marksTable()) + 1; len(r.tables) < n {
		r.tables = make([]tableTx, n)
	}
}

// release lets go of the transaction.
func (r *rowTx) release() {
	clear(r.undo)
	for i := range r.tables {
		r.tables[i].release()
	}
	r.tx, r.history, r.undo = nil, nil, r.undo[:0]
	r.pending.release()
	r.groups.release()
	r.arena.reset()
}

// get gives the row as of t.
func (r *rowTx) get(table uint16, key []byte, t uint64) (row []byte, ok bool, err error) {
	if r.over != nil {
		return r.getOver(table, key, t)
	}
	raw, err := r.newest(table, key)
	if raw == nil || err != nil {
		return nil, false, err
	}
	return r.asOf(table, key, raw, t)
}

// asOf gives the row that was valid at t, from the newest version's bytes.
func (r *rowTx) asOf(table uint16, key, raw []byte, t uint64) (row []byte, ok bool, err error) {
	var v version
	if err := v.decode(raw); err != nil {
		return nil, false, err
	}
	if v.ts[0] <= t || mutant.Is("as-of off by one") && v.ts[0] == t+1 {
		return v.row, !v.deleted, nil
	}
	replaced, found := replacedAt(v.ts[:v.n], t)
	if !found && v.older {
		replaced, found, err = r.searchGroups(table, key, t)
	}
	if !found || err != nil {
		return nil, false, err
	}
	return r.old(table, key, replaced)
}

func (r *rowTx) searchGroups(table uint16, key []byte, t uint64) (replaced uint64, found bool, err error) {
	ts, err := r.group(table, key, t)
	if err != nil || ts == nil {
		return 0, false, err
	}
	replaced, found = replacedAt(ts, t)
	return replaced, found, nil
}

// group gives the t's of the group that reaches back to t: first the one that ended its newest version. It is nil when t lies before the
// first version.
func (r *rowTx) group(table uint16, key []byte, t uint64) ([]uint64, error) {
	var buf [128]byte
	prefix := groupPrefix(buf[:0], table, key)
	groups, err := r.flushGroups()
	if err != nil {
		return nil, err
	}
	k, v := seekBelow(groups.Cursor(), binary.BigEndian.AppendUint64(prefix, t+1))
	if len(k) != len(prefix)+8 || !bytes.HasPrefix(k, prefix) {
		return nil, nil
	}
	ts := make([]uint64, groupSize+1)
	_, err = decodeDescending(v, ts)
	return ts, err
}

// groupPrefix holds the key's length, so that no key's groups lie between those of another.
func groupPrefix(dst []byte, table uint16, key []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, table)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
	return append(dst, key...)
}

// put writes a row (or, with deleted, takes it away) at t, which is not below any t written before.
func (r *rowTx) put(table uint16, key, row []byte, deleted bool, t uint64) error {
	if r.over != nil {
		return r.putOver(table, key, row, deleted, t)
	}
	raw, err := r.newest(table, key)
	if err != nil {
		return err
	}
	var v version
	if raw == nil {
		if deleted {
			return nil
		}
		v.n, v.ts[0] = 1, t
		r.keepOld(table, key, nil, false, t)
	} else if done, err := r.replace(table, key, raw, &v, deleted, t); done || err != nil {
		return err
	}
	v.deleted = deleted
	return r.setRow(table, key, v.append(r.arena.take(2+10*v.n+len(row)), row))
}

// putFirst writes the first version of a row whose past is not known: nothing is kept of what was before t.
func (r *rowTx) putFirst(table uint16, key, row []byte, t uint64) error {
	v := version{n: 1}
	v.ts[0] = t
	return r.setRow(table, key, v.append(nil, row))
}

// setRow changes a row that is held, and notes how to undo it.
func (r *rowTx) setRow(table uint16, key, raw []byte) error {
	t := r.table(table)
	i, err := t.hold(key, &r.arena)
	if err != nil {
		return err
	}
	r.undo = append(r.undo, undoStep{table: table, key: t.held[i].key, old: t.held[i].raw})
	t.change(i, raw)
	return nil
}

// replace keeps the old version, unless it was written at the same t, and makes v the header of the new one.
func (r *rowTx) replace(table uint16, key, raw []byte, v *version, deleted bool, t uint64) (done bool, err error) {
	if err := v.decode(raw); err != nil {
		return true, err
	}
	if deleted && v.deleted {
		return true, nil
	}
	if v.ts[0] == t {
		return false, nil
	}
	if mutant.Is("history not kept") { // what it costs is measured so
		*v = version{n: 1, ts: [groupSize]uint64{t}}
		return false, nil
	}
	r.keepOld(table, key, v.row, !v.deleted, t)
	r.pushT(table, key, v, t)
	return false, nil
}

// pushT puts t before the others; when there are enough of them they move into a group.
func (r *rowTx) pushT(table uint16, key []byte, v *version, t uint64) {
	if v.n < groupSize {
		copy(v.ts[1:], v.ts[:v.n])
		v.n++
		v.ts[0] = t
		return
	}
	all := [groupSize + 1]uint64{t}
	copy(all[1:], v.ts[:])
	g := &r.groups
	at := len(g.bytes)
	g.bytes = binary.BigEndian.AppendUint64(groupPrefix(g.bytes, table, key), v.ts[groupSize-1])
	n := len(g.bytes) - at
	g.bytes = appendDescending(g.bytes, all[:])
	g.put(at, n)
	v.older, v.n, v.ts[0] = true, 1, t
}

// flushGroups puts the groups that were made into their bucket. Those of a fold that failed stay: nothing leads to them, and when the
// row is written again another takes their place, for which the later one of two must win.
func (r *rowTx) flushGroups() (*bbolt.Bucket, error) {
	b, g := r.tx.Bucket(r.agg.groupsName), &r.groups
	g.sort()
	for i := range g.rows {
		o := g.row(i)
		if err := b.Put(o.key, o.value); err != nil {
			return b, err
		}
	}
	g.cut(0)
	return b, nil
}

// undoStep is a value to put back; old nil means that the key was not there.
type undoStep struct {
	bucket   *bbolt.Bucket // nil: it is a row of the table
	table    uint16
	key, old []byte
}

// set writes and notes how to undo it. The transaction keeps key and value.
func (r *rowTx) set(b *bbolt.Bucket, key, old, value []byte) error {
	if err := b.Put(key, value); err != nil {
		return err
	}
	r.undo = append(r.undo, undoStep{bucket: b, key: key, old: old})
	return nil
}

// rowMark is a point to roll back to.
type rowMark struct{ undo, pending int }

func (r *rowTx) mark() rowMark { return rowMark{len(r.undo), len(r.pending.rows)} }

// settle makes what was done final: earlier marks are not valid any more.
func (r *rowTx) settle() {
	clear(r.undo)
	r.undo = r.undo[:0]
}

func (r *rowTx) rollback(m rowMark) error {
	r.pending.cut(m.pending)
	for i := len(r.undo) - 1; i >= m.undo; i-- {
		if err := r.putBack(&r.undo[i]); err != nil {
			return err
		}
	}
	r.undo = r.undo[:m.undo]
	return nil
}

func (r *rowTx) putBack(s *undoStep) error {
	switch {
	case s.bucket == nil:
		t := r.table(s.table)
		i, err := t.hold(s.key, &r.arena)
		if err == nil {
			t.change(i, s.old)
		}
		return err
	case s.old == nil:
		return s.bucket.Delete(s.key)
	}
	return s.bucket.Put(s.key, s.old)
}

// arena hands out byte slices for values that bbolt keeps until the transaction ends.
type arena struct{ block []byte }

// Blocks become larger from one to the next: most transactions hold little.
const (
	smallBlock = 1 << 10
	largeBlock = 64 << 10
)

// take gives an empty slice with room for n bytes.
func (a *arena) take(n int) []byte {
	if n > largeBlock/4 {
		return make([]byte, 0, n)
	}
	if cap(a.block)-len(a.block) < n {
		a.block = make([]byte, 0, max(smallBlock, 4*n, min(4*cap(a.block), largeBlock)))
	}
	at := len(a.block)
	a.block = a.block[:at+n]
	return a.block[at : at : at+n]
}

// reset forgets the block: what was handed out may still be in use by the transaction that ended.
func (a *arena) reset() { a.block = nil }
