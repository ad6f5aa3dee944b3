package bolt

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
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
	var r store.Record
	size := 0
	for len(walks) > 0 && len(p.page) < p.want && size < pageBytes {
		w := walks[0]
		if err := p.take(tx, w.at, &r); err != nil {
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

func (p *filePages) take(tx *bbolt.Tx, at place, r *store.Record) error {
	if r.T != at.t || r.Shard != at.shard {
		key := logKey(at.shard, at.t)
		if err := load(tx, key[:], r); err != nil {
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
	at     place
	places []byte // of further events of the same commit
}

var errPlaces = errors.New("bad list of places in the index by time")

func (w *walk) start(p *filePages, number uint64) (bool, error) {
	ok, err := w.enter(p)(w.c.Seek(timeKey(nil, number, p.after)))
	for ok && err == nil && w.at.compare(p.after) <= 0 {
		ok, err = w.next(p)
	}
	return ok, err
}

func (w *walk) next(p *filePages) (bool, error) {
	if len(w.places) > 0 {
		return w.nextPlace()
	}
	return w.enter(p)(w.c.Next())
}

// enter goes to the first event under a key, and says whether there is one before the query's end.
func (w *walk) enter(p *filePages) func(key, value []byte) (bool, error) {
	return func(key, value []byte) (ok bool, err error) {
		if !bytes.HasPrefix(key, w.prefix) {
			return false, nil
		}
		if w.at, err = parseTimeKey(key[len(w.prefix):]); err != nil {
			return false, err
		}
		if !p.endless && w.at.time >= p.to {
			return false, nil
		}
		w.places = value
		return w.nextPlace()
	}
}

func (w *walk) nextPlace() (bool, error) {
	index, n := binary.Uvarint(w.places)
	if n <= 0 || index > math.MaxInt32 {
		return false, fmt.Errorf("%w: %w", errPlaces, errDamaged)
	}
	w.at.index, w.places = int(index), w.places[n:]
	return true, nil
}

// walkHeap has the walk with the smallest place in front.
type walkHeap []*walk

func (h walkHeap) Len() int           { return len(h) }
func (h walkHeap) Less(i, j int) bool { return h[i].at.compare(h[j].at) < 0 }
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
