package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// archive is a store: records by command, and by their place in the log.
type archive struct {
	w         *World
	records   map[uuid.UUID]store.Record
	log       []map[uint64]uuid.UUID // by shard
	downUntil int
}

func newArchive(w *World) *archive {
	a := &archive{w: w, records: map[uuid.UUID]store.Record{}}
	for range w.shards {
		a.log = append(a.log, map[uint64]uuid.UUID{})
	}
	return a
}

var (
	errStore     = errors.New("sim: the store did not answer in time")
	errThrottled = errors.New("sim: the store is throttled")
)

func cloneRecord(r store.Record) store.Record {
	var c store.Record
	_ = c.Decode(r.Append(nil))
	c.Shard, c.T = r.Shard, r.T
	return c
}

// Put keeps records.
func (a *archive) Put(ctx context.Context, records []store.Record) error {
	return a.put(ctx, "put", records)
}

// PutNew keeps records that are new.
func (a *archive) PutNew(ctx context.Context, records []store.Record) error {
	return a.put(ctx, "put new", records)
}

func (a *archive) put(ctx context.Context, what string, records []store.Record) error {
	w := a.w
	w.before(what)
	if err := ctx.Err(); err != nil {
		return err
	}
	err := a.outcome(records)
	w.after(what)
	return err
}

func (a *archive) outcome(records []store.Record) error {
	w := a.w
	switch {
	case w.ticks < a.downUntil, w.happens(storeThrottled):
		return errThrottled
	case w.happens(storeLost):
		return errStore
	case w.happens(storeTimeout):
		_ = a.keepAll(records)
		return errStore
	case w.happens(storePart):
		for _, i := range w.lot.Perm(len(records))[:w.lot.IntN(len(records)+1)] {
			_ = a.keep(&records[i])
		}
		return errStore
	}
	return a.keepAll(records)
}

func (a *archive) keepAll(records []store.Record) (err error) {
	for i := range records {
		err = errors.Join(err, a.keep(&records[i]))
	}
	return err
}

func (a *archive) keep(r *store.Record) error {
	old, there := a.records[r.Command]
	if there {
		if old.T != r.T || old.Shard != r.Shard {
			a.w.fault("10: command %s is stored as t %d, and offered as t %d", r.Command, old.T, r.T)
		}
		if !bytes.Equal(old.Append(nil), r.Append(nil)) {
			a.w.fault("10: command %s (t %d) is offered to the store with other bytes", r.Command, r.T)
			return store.Conflict(&old, r)
		}
		return nil
	}
	if other, taken := a.log[r.Shard][r.T]; taken {
		a.w.fault("11: t %d of shard %d is command %s in the store, and %s is offered", r.T, r.Shard, other, r.Command)
		return fmt.Errorf("sim: t %d is taken", r.T)
	}
	a.w.note("store", strconv.Itoa(r.Shard), strconv.FormatUint(r.T, 10), r.Command.String())
	a.records[r.Command], a.log[r.Shard][r.T] = cloneRecord(*r), r.Command
	return nil
}

func (a *archive) reading(what string) error {
	a.w.before(what)
	if a.w.ticks < a.downUntil {
		return errThrottled
	}
	if a.w.draw(storeReadFails) {
		return errStore
	}
	return nil
}

// Event finds an event.
func (a *archive) Event(_ context.Context, id uuid.UUID) (store.Entry, error) {
	if err := a.reading("find event"); err != nil {
		return store.Entry{}, err
	}
	for _, r := range a.records {
		for _, e := range r.Events {
			if e.ID == id {
				return store.Entry{Envelope: r.Envelope, Event: e}, nil
			}
		}
	}
	return store.Entry{}, store.ErrNotFound
}

// Commit finds a record.
func (a *archive) Commit(_ context.Context, command uuid.UUID) (store.Record, error) {
	if err := a.reading("find commit"); err != nil {
		return store.Record{}, err
	}
	r, ok := a.records[command]
	if !ok {
		return r, store.ErrNotFound
	}
	return cloneRecord(r), nil
}

// Query gives events.
func (a *archive) Query(context.Context, store.Query) iter.Seq2[store.Entry, error] {
	return func(func(store.Entry, error) bool) {}
}

// Log gives records in order.
func (a *archive) Log(_ context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for t := max(from, 1); ; t++ {
			if err := a.reading("store log"); err != nil {
				yield(store.Record{}, err)
				return
			}
			id, ok := a.log[shard][t]
			if !ok || !yield(cloneRecord(a.records[id]), nil) {
				return
			}
		}
	}
}

// Last is where Log ends.
func (a *archive) Last(_ context.Context, shard int) (uint64, error) {
	if err := a.reading("store last"); err != nil {
		return 0, err
	}
	return a.last(shard), nil
}

func (a *archive) last(shard int) (t uint64) {
	for ; a.log[shard][t+1] != uuid.Nil; t++ {
	}
	return t
}

// Limit is none.
func (a *archive) Limit() int { return 0 }

// Close does nothing: the store is not a process's.
func (a *archive) Close() error { return nil }
