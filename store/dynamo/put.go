package dynamo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Put keeps records, as store.Store says. It makes one conditional request for each record that is not in the log yet; what
// goes with it is written in batches. A bad or too large record makes it write nothing at all.
func (s *Store) Put(ctx context.Context, records []store.Record) error {
	return s.put(ctx, records, false)
}

// PutNew is Put for records that the caller knows to be new, at a fraction of the cost: they are written in batches, without
// a condition.
//
// The caller guarantees that no record's command stands in the table with other bytes or at another t, and that nobody else
// puts such a record at the same time. Whoever has read the whole log of the shard, knows which commands it holds and
// numbers the records itself can say so. Where it is not so, events of the earlier record are overwritten: Log and Commit
// report that as damage when they come to it, and not before.
//
// A record whose place in the log is taken already is treated as by Put, so that repeating a call, or part of it, is safe.
func (s *Store) PutNew(ctx context.Context, records []store.Record) error {
	return s.put(ctx, records, true)
}

func (s *Store) put(ctx context.Context, records []store.Record, known bool) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	b, err := s.prepare(records)
	if err != nil || len(b.entries) == 0 {
		return errors.Join(append(b.refused, err)...)
	}
	if err := s.store(ctx, b, known); err != nil {
		return errors.Join(append(b.refused, fmt.Errorf("put: %w", err))...)
	}
	return errors.Join(b.refused...)
}

// store writes a batch, its log last.
func (s *Store) store(ctx context.Context, b *batch, known bool) error {
	if err := s.look(ctx, b); err != nil {
		return err
	}
	if err := s.learn(ctx, b); err != nil {
		return err
	}
	if !known {
		if err := s.claim(ctx, b); err != nil {
			return err
		}
	}
	if err := s.write(ctx, b.items(!known)); err != nil {
		return err
	}
	return s.writeLog(ctx, b)
}

// batch is what one call puts.
type batch struct {
	entries []*entry

	mu      sync.Mutex
	refused []error
}

// entry is a record on its way.
type entry struct {
	record    *store.Record
	digest    digest
	line      []byte
	events    []item
	ownAnchor item // nil when the first event is the anchor
	done      bool // it stands in the log, or is refused
}

func (e *entry) anchor() item {
	if e.ownAnchor != nil {
		return e.ownAnchor
	}
	return e.events[0]
}

func (b *batch) refuse(e *entry, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.done = true
	b.refused = append(b.refused, err)
}

func (b *batch) open() (open []*entry) {
	for _, e := range b.entries {
		if !e.done {
			open = append(open, e)
		}
	}
	return open
}

// items are what is to be written in batches. An anchor that was put already is not among them.
func (b *batch) items(anchored bool) (items []item) {
	for _, e := range b.open() {
		switch {
		case !anchored && e.ownAnchor != nil:
			items = append(append(items, e.ownAnchor), e.events...)
		case anchored && e.ownAnchor == nil:
			items = append(items, e.events[1:]...)
		default:
			items = append(items, e.events...)
		}
	}
	return items
}

type place struct {
	shard int
	t     uint64
}

// prepare checks the records, and drops those that stand twice in the call.
func (s *Store) prepare(records []store.Record) (*batch, error) {
	b := &batch{entries: make([]*entry, 0, len(records))}
	commands := make(map[uuid.UUID]*entry, len(records))
	places := make(map[place]*entry, len(records))
	var m lineMaker
	for i := range records {
		e, err := s.newEntry(&records[i], &m)
		if err != nil {
			return b, err
		}
		r := e.record
		first, at := commands[r.Command], place{r.Shard, r.T}
		switch {
		case first != nil && first.digest == e.digest && at == place{first.record.Shard, first.record.T}:
		case first != nil:
			b.refuse(e, store.Conflict(first.record, r))
		case places[at] != nil:
			b.refuse(e, &TakenError{r.Shard, r.T, places[at].record.Command, r.Command})
		default:
			commands[r.Command], places[at] = e, e
			b.entries = append(b.entries, e)
		}
	}
	return b, nil
}

func (s *Store) newEntry(r *store.Record, m *lineMaker) (e *entry, err error) {
	if err := check(r); err != nil {
		return nil, fmt.Errorf("store: command %s: %w", r.Command, err)
	}
	e = &entry{record: r}
	e.digest, e.line = m.line(r)
	if len(e.line) > maxLine {
		return nil, fmt.Errorf("store: command %s: what its commit holds beside the payloads takes %d bytes, and %d fit into an item of "+
			"DynamoDB: shorten its key, trace, remarks or the list of its %d events", r.Command, len(e.line), maxLine, len(r.Events))
	}
	if !s.anchoredInEvent(r) {
		e.ownAnchor = s.ownAnchor(r, e.digest)
	}
	e.events, err = eventItems(r, e.digest)
	return e, err
}

// surelyFits is what a record may hold beside payloads of the limit, so that all its items surely fit.
const surelyFits = 8 << 10

// Check implements store.Checker: an item of the log has to hold a commit without its payloads, and others one event each.
func (s *Store) Check(r *store.Record) error {
	beside, largest := len(r.Key)+len(r.CommandType)+len(r.Code)+len(r.Remarks), 0
	for _, h := range r.Trace {
		beside += len(h.Key) + len(h.Value) + 8
	}
	for i := range r.Events {
		e := &r.Events[i]
		beside, largest = beside+len(e.Segment)+4*len(e.Type)+8, max(largest, len(e.Data))
	}
	if beside < surelyFits && largest <= s.Limit() {
		return nil
	}
	whole := *r
	whole.T = max(r.T, 1)
	_, err := s.newEntry(&whole, new(lineMaker))
	return err
}

func check(r *store.Record) error {
	switch {
	case r.T == 0:
		return errors.New("t is 0: a record has a t before it is put")
	case r.Shard < 0 || uint64(r.Shard) > math.MaxUint32:
		return fmt.Errorf("shard %d is outside of 0 to %d", r.Shard, uint32(math.MaxUint32))
	case r.Prev != nil && len(r.Prev) != 32:
		return fmt.Errorf("prev has %d bytes, not 32", len(r.Prev))
	}
	return nil
}
