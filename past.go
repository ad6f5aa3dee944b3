package cqrs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Version is a row as it was from one t on, until the next version.
type Version[V any] struct {
	T       uint64 // the commit that wrote it
	Deleted bool   // from T on there was no row
	Row     V      // the zero value when Deleted
}

// History gives all versions of a row, the newest first, as far as the View's t. Shard.Commit gives the time and the events of a version's
// commit.
func (t *Table[K, V]) History(v View, key K) iter.Seq2[Version[V], error] {
	k := t.encode(nil, key)
	return func(yield func(Version[V], error) bool) {
		for at := v; ; {
			version, before, found, err := t.version(at, k)
			if err != nil {
				yield(Version[V]{}, err)
				return
			}
			if !found || !yield(version, nil) || before == 0 {
				return
			}
			at.t = before
		}
	}
}

// version gives the version that is valid at v's t, and the last t before it was written (0: there is none before).
func (t *Table[K, V]) version(v View, key []byte) (out Version[V], before uint64, found bool, err error) {
	tr, err := v.begin()
	if err != nil {
		return out, 0, false, err
	}
	defer v.end(tr)
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	id, err := tr.rowTx.agg.id(&t.tableCore, v.t)
	if err != nil {
		return out, 0, false, err
	}
	written, row, there, found, err := tr.rowTx.versionAt(id, key, v.t)
	if err != nil || !found {
		return out, 0, false, err
	}
	out.T, out.Deleted = written, !there
	if there {
		err = decodeRow(&t.tableCore, row, &out.Row)
	}
	return out, written - 1, true, err
}

// versionAt gives the version that is valid at t, with the t at which it was written. It is not found before the first one.
func (r *rowTx) versionAt(table uint16, key []byte, t uint64) (written uint64, row []byte, there, found bool, err error) {
	if r.over != nil {
		return r.versionAtOver(table, key, t)
	}
	return r.storedVersionAt(table, key, t)
}

func (r *rowTx) storedVersionAt(table uint16, key []byte, t uint64) (written uint64, row []byte, there, found bool, err error) {
	raw, err := r.newest(table, key)
	if raw == nil || err != nil {
		return 0, nil, false, false, err
	}
	var v version
	if err := v.decode(raw); err != nil {
		return 0, nil, false, false, err
	}
	if v.ts[0] <= t {
		return v.ts[0], v.row, !v.deleted, true, nil
	}
	ts := v.ts[:v.n]
	if _, ok := replacedAt(ts, t); !ok && v.older {
		if ts, err = r.group(table, key, t); err != nil {
			return 0, nil, false, false, err
		}
	}
	replaced, ok := replacedAt(ts, t)
	if !ok {
		return 0, nil, false, false, nil
	}
	for _, w := range ts {
		if w <= t {
			written = w
			break
		}
	}
	row, there, err = r.old(table, key, replaced)
	return written, row, there, err == nil, err
}

// RowChange is a row that differs between two t.
type RowChange[V any] struct {
	Before, After     V
	WasThere, IsThere bool
}

// Diff gives the rows that differ between the views before and after, which is not the older one, in the order of their keys. What
// it costs depends on what was written in between.
func (t *Table[K, V]) Diff(before, after View) iter.Seq2[RowChange[V], error] {
	return func(yield func(RowChange[V], error) bool) {
		keys, err := t.written(before, after)
		if err != nil {
			yield(RowChange[V]{}, err)
			return
		}
		for _, key := range keys {
			c, changed, err := t.change(before, after, key)
			if (err != nil || changed) && !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func (t *Table[K, V]) change(before, after View, key []byte) (c RowChange[V], changed bool, err error) {
	a, wasThere, err := t.row(before, key, &c.Before)
	if err != nil {
		return c, false, err
	}
	b, isThere, err := t.row(after, key, &c.After)
	c.WasThere, c.IsThere = wasThere, isThere
	return c, wasThere != isThere || !bytes.Equal(a, b), err
}

// row reads a row's bytes, and decodes it.
func (t *Table[K, V]) row(v View, key []byte, row *V) (raw []byte, found bool, err error) {
	tr, err := v.begin()
	if err != nil {
		return nil, false, err
	}
	defer v.end(tr)
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	raw, found, err = tr.get(&t.tableCore, key)
	if err != nil || !found {
		return nil, false, err
	}
	return bytes.Clone(raw), true, decodeRow(&t.tableCore, raw, row)
}

// written lists the keys of the rows that were written after before, up to after, in order.
func (t *Table[K, V]) written(before, after View) (keys [][]byte, err error) {
	if before.agg != after.agg && before.agg != nil && after.agg != nil && before.agg.version != after.agg.version {
		return nil, fmt.Errorf("cqrs: Diff wants views of one version, and got views of versions %q and %q", before.agg.version, after.agg.version)
	}
	if before.agg != after.agg || before.base() > after.base() {
		return nil, fmt.Errorf("cqrs: Diff wants an older and a newer view of one shard, and got t %d and t %d", before.t, after.t)
	}
	tr, err := after.begin()
	if err != nil {
		return nil, err
	}
	defer after.end(tr)
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	if err := before.agg.position().canRead(before.base(), before.agg.shard); err != nil {
		return nil, err // the history may lack what was written since
	}
	id, err := tr.rowTx.agg.id(&t.tableCore, before.t)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, over := range []*overlay{before.over, after.over} {
		over.keys(id, seen)
	}
	err = tr.rowTx.eachOld(before.base()+1, after.base(), func(o oldRow) error {
		if binary.BigEndian.Uint16(o.key[8:]) == id {
			seen[string(o.key[historyFixed:])] = true
		}
		return nil
	})
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		keys = append(keys, []byte(key))
	}
	return keys, err
}

// eachOld calls fn for the versions that were replaced from one t to another, both included.
func (r *rowTx) eachOld(from, to uint64, fn func(oldRow) error) error {
	c := r.tx.Bucket(r.agg.historyName).Cursor()
	start := binary.BigEndian.AppendUint64(nil, from)
	k, chunk := seekBelow(c, start) // the chunk that begins before may reach into the range
	if k == nil {
		k, chunk = c.First()
	}
	for ; k != nil; k, chunk = c.Next() {
		if len(k) < 8 {
			return errVersion
		}
		if binary.BigEndian.Uint64(k) > to {
			break
		}
		for rest := chunk; len(rest) > 0; {
			o, next, err := nextOld(rest)
			if err != nil {
				return err
			}
			if t := o.t(); t >= from && t <= to {
				if err := fn(o); err != nil {
					return err
				}
			}
			rest = next
		}
	}
	return nil
}

// Commit gives the commit that was accepted as t, or ErrNotFound. Its time is Time, its events are in Values.
func (s *Shard) Commit(ctx context.Context, t uint64) (*Commit, error) {
	for c, err := range s.Log(ctx, t, t) {
		return c, err
	}
	return nil, ErrNotFound
}

// Log gives the accepted commits from one t to another, both included, with their events.
func (s *Shard) Log(ctx context.Context, from, to uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		if s.rt.store == nil {
			yield(nil, errNoStore)
			return
		}
		for record, err := range s.rt.store.Log(ctx, s.n, max(from, 1)) {
			if err == nil && record.T > to {
				return
			}
			c := &Commit{Record: record}
			if err == nil {
				err = s.rt.types.decodeEvents(c)
			}
			if !yield(c, readError(err)) || err != nil || record.T == to {
				return
			}
		}
	}
}

// AsOfTime is the value after the last commit before the first one whose command is later than that instant: what somebody who
// looked then could have seen. (Time is the commands' time, which their senders set; it may go back a little from one commit to the next.)
func (s *Shard) AsOfTime(ctx context.Context, instant time.Time) (View, error) {
	a, ms := s.agg(), instant.UnixMilli()
	if a == nil {
		return View{}, errNoView
	}
	newest := a.position()
	if newest.t == 0 || newest.latest <= ms {
		return View{agg: a, t: newest.t}, nil
	}
	t, err := a.timeMark(ms)
	for found := false; err == nil && !found; {
		if t, found, err = s.lastUntil(ctx, t, ms); err == nil && !found { // another process fills the store
			sleep(ctx, storePoll)
			err = ctx.Err()
		}
	}
	if err != nil {
		return View{}, err
	}
	return View{agg: a, t: t}, nil
}

// lastUntil goes on from t to the last commit before a later one. It is found when the store has that one.
func (s *Shard) lastUntil(ctx context.Context, t uint64, ms int64) (last uint64, found bool, err error) {
	for c, err := range s.rt.store.Log(ctx, s.n, t+1) {
		if err != nil || c.Time > ms {
			return t, err == nil, readError(err)
		}
		t = c.T
	}
	return t, false, nil
}

// timeMark gives a t up to which no command was later than ms, and from which it is not far to the last such t.
func (a *aggregate) timeMark(ms int64) (t uint64, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		t, err = a.timeMarkIn(tx, ms)
		return err
	})
	return t, readError(err)
}

func (a *aggregate) timeMarkIn(tx *bbolt.Tx, ms int64) (uint64, error) {
	k, v := seekBelow(tx.Bucket(a.timesName).Cursor(), timeKey(ms+1))
	if k == nil {
		return 0, nil
	}
	if len(v) != 8 {
		return 0, errors.New("cqrs: a time mark can't be read: the file is damaged")
	}
	return binary.BigEndian.Uint64(v), nil
}

func timeKey(ms int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(ms)^1<<63) }
