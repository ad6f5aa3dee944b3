package bolt

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// Query gives events by type and time. It never lags behind Put.
func (s *Store) Query(ctx context.Context, q store.Query) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		m := s.newMerge(q)
		for n := 0; q.Limit <= 0 || n < q.Limit; n++ {
			e, err := m.next(ctx)
			switch {
			case err != nil:
				yield(store.Entry{}, fmt.Errorf("query: %w", err))
				return
			case e == nil || !yield(*e, nil):
				return
			}
		}
	}
}

// merge gives the entries of several files in one order.
type merge struct {
	store *Store
	files []*filePages
}

func (s *Store) newMerge(q store.Query) *merge {
	m := &merge{store: s}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.From.IsZero() {
		from = ceilMilli(q.From)
	}
	if !q.To.IsZero() {
		to = ceilMilli(q.To)
	}
	for _, f := range s.files {
		p := &filePages{file: f, kind: q.Type, after: place{time: from, index: -1}, to: to, endless: q.To.IsZero(), want: pageRecords}
		if q.Limit > 0 {
			p.want = min(p.want, q.Limit)
		}
		m.files = append(m.files, p)
	}
	return m
}

// ceilMilli is the first whole millisecond that is not before t.
func ceilMilli(t time.Time) int64 {
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		return t.UnixMilli() + 1
	}
	return t.UnixMilli()
}

// next is the next entry, or nil at the end.
func (m *merge) next(ctx context.Context) (*store.Entry, error) {
	var first *filePages
	for _, p := range m.files {
		if err := m.fill(ctx, p); err != nil {
			return nil, err
		}
		if len(p.page) > 0 && (first == nil || placeOf(&p.page[0]).compare(placeOf(&first.page[0])) < 0) {
			first = p
		}
	}
	if first == nil {
		return nil, nil
	}
	e := &first.page[0]
	first.page = first.page[1:]
	return e, nil
}

func placeOf(e *store.Entry) place { return place{e.Time, e.Shard, e.T, e.Index} }

// fill reads the next page when the last one is used up.
func (m *merge) fill(ctx context.Context, p *filePages) error {
	if err := m.store.ready(ctx); err != nil {
		return err
	}
	if len(p.page) > 0 || p.done {
		return nil
	}
	return asClosed(p.file.View(p.read))
}

// filePages goes through a file's entries page by page, each page in a read transaction of its own.
type filePages struct {
	file    *boltfile.File
	kind    string // "" is every type
	after   place  // of the last entry that was read
	to      int64
	endless bool
	want    int

	page []store.Entry
	done bool
}

func (p *filePages) read(tx *bbolt.Tx) error {
	walks, err := p.walks(tx)
	if err != nil {
		return err
	}
	if len(walks) == 0 {
		p.done = true
		return nil
	}
	log, err := openLog(tx)
	if err != nil {
		return err
	}
	var r store.Record
	size := 0
	for len(walks) > 0 && len(p.page) < p.want && size < pageBytes {
		if err := p.take(log, walks[0].at(), &r); err != nil {
			return err
		}
		size += len(p.page[len(p.page)-1].Data)
		if err := walks.advance(p); err != nil {
			return err
		}
	}
	p.done = len(walks) == 0
	return nil
}

func (p *filePages) take(log *logReader, at place, r *store.Record) error {
	if r.T != at.t || r.Shard != at.shard {
		if err := log.load(at.shard, at.t, r); err != nil {
			return err
		}
	}
	if at.index < 0 || at.index >= len(r.Events) {
		return fmt.Errorf("the index by time points to event %d of t %d, which has %d: %w", at.index, at.t, len(r.Events), errDamaged)
	}
	p.page = append(p.page, entryOf(r, at.index))
	p.after = at
	return nil
}

// walks stand at the first entry of each type that comes next.
func (p *filePages) walks(tx *bbolt.Tx) (walkHeap, error) {
	types, times := tx.Bucket(typesBucket), tx.Bucket(timeBucket)
	if types == nil || times == nil {
		return nil, nil
	}
	var all walkHeap
	err := p.eachType(types, func(number uint64) error {
		w := &walk{c: times.Cursor(), prefix: appendOrdered(nil, number)}
		ok, err := w.start(p, number)
		if ok {
			all = append(all, w)
		}
		return err
	})
	heap.Init(&all)
	return all, err
}

func (p *filePages) eachType(types *bbolt.Bucket, fn func(uint64) error) error {
	if p.kind != "" {
		if n, ok := typeNumber(types, typeKey(p.kind)); ok {
			return fn(n)
		}
		return nil
	}
	return types.ForEach(func(_, value []byte) error {
		n, _ := binary.Uvarint(value)
		return fn(n)
	})
}

// walk goes through one type's entries in order.
type walk struct {
	c      *bbolt.Cursor
	prefix []byte
	block  places
}

func (w *walk) at() place { return w.block.at }

// start goes to the first entry behind p.after, and says whether there is one before the query's end.
func (w *walk) start(p *filePages, number uint64) (bool, error) {
	ok, err := w.enter(seekBack(w.c, w.prefix, timeKey(nil, number, p.after)))
	for ok && err == nil && w.at().compare(p.after) <= 0 {
		ok, err = w.step()
	}
	return ok && p.within(w.at()), err
}

func (w *walk) next(p *filePages) (bool, error) {
	ok, err := w.step()
	return ok && p.within(w.at()), err
}

func (w *walk) step() (bool, error) {
	if ok, err := w.block.next(); ok || err != nil {
		return ok, err
	}
	return w.enter(w.c.Next())
}

func (w *walk) enter(key, value []byte) (ok bool, err error) {
	if !bytes.HasPrefix(key, w.prefix) {
		return false, nil
	}
	w.block, err = openBlock(key[len(w.prefix):], value)
	return err == nil, err
}

func (p *filePages) within(at place) bool { return p.endless || at.time < p.to }

// walkHeap has the walk with the smallest place in front.
type walkHeap []*walk

func (h walkHeap) Len() int           { return len(h) }
func (h walkHeap) Less(i, j int) bool { return h[i].at().compare(h[j].at()) < 0 }
func (h walkHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *walkHeap) Push(w any)        { *h = append(*h, w.(*walk)) }
func (h *walkHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// advance moves the front walk on, or takes it away at its end.
func (h *walkHeap) advance(p *filePages) error {
	ok, err := (*h)[0].next(p)
	if ok {
		heap.Fix(h, 0)
	} else {
		heap.Pop(h)
	}
	return err
}
