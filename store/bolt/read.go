package bolt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// What one read transaction copies out at most, unless a single record is larger.
const (
	pageRecords = 512
	pageBytes   = 1 << 20
)

var errDamaged = errors.New("the store is damaged: restore it from a copy, or rebuild it from the queue")

func findCommit(tx *bbolt.Tx, command uuid.UUID) (r store.Record, err error) {
	err = among(tx, byCommand, command, func(log *logReader, h hit) (bool, error) {
		data, err := log.find(int(h.shard), h.t)
		if err == nil {
			err = decode(int(h.shard), h.t, bytes.Clone(data), &r)
		}
		return r.Command == command, err
	})
	return r, err
}

func findEvent(tx *bbolt.Tx, id uuid.UUID) (e store.Entry, err error) {
	var r store.Record
	err = among(tx, byEvent, id, func(log *logReader, h hit) (bool, error) {
		if err := log.load(int(h.shard), h.t, &r); err != nil {
			return false, err
		}
		i := slices.IndexFunc(r.Events, func(e store.Event) bool { return e.ID == id })
		if i >= 0 {
			e = entryOf(&r, i)
		}
		return i >= 0, nil
	})
	return e, err
}

// among asks, for one commit after the other that the index names, whether it is the right one: the index does not hold whole ids.
func among(tx *bbolt.Tx, index idKind, id uuid.UUID, right func(*logReader, hit) (bool, error)) error {
	hits, err := index.lookUp(tx, id)
	if err != nil || len(hits) == 0 {
		return cmp.Or(err, store.ErrNotFound)
	}
	log, err := openLog(tx)
	if err != nil {
		return err
	}
	for _, h := range hits {
		if ok, err := right(log, h); ok || err != nil {
			return err
		}
	}
	return store.ErrNotFound
}

// entryOf copies an event out of a record whose bytes are the transaction's.
func entryOf(r *store.Record, i int) store.Entry {
	e := store.Entry{Envelope: r.Envelope, Event: r.Events[i]}
	e.Data = append(make([]byte, 0, len(e.Data)), e.Data...)
	return e
}

// Log gives the records of a shard from t on. A t that is missing before the last one is an error.
func (s *Store) Log(ctx context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		l := logPages{shard: shard, next: max(from, 1)}
		for !l.done {
			page, err := s.logPage(ctx, &l)
			for i := 0; i < len(page) && ctx.Err() == nil; i++ {
				if !yield(page[i], nil) {
					return
				}
			}
			if err = errors.Join(ctx.Err(), err); err != nil {
				yield(store.Record{}, fmt.Errorf("log of shard %d: %w", shard, err))
				return
			}
		}
	}
}

// logPages goes through a shard's log page by page.
type logPages struct {
	shard int
	next  uint64
	done  bool
}

func (s *Store) logPage(ctx context.Context, l *logPages) (page []store.Record, err error) {
	err = s.view(ctx, l.shard, func(tx *bbolt.Tx) error {
		page, err = l.read(tx)
		return err
	})
	return page, err
}

// read copies the next records out, together with the error that stands behind them.
func (l *logPages) read(tx *bbolt.Tx) (page []store.Record, err error) {
	log := tx.Bucket(logBucket)
	if log == nil {
		l.done = true
		return nil, nil
	}
	c := log.Cursor()
	size := 0
	for key, value := seekLog(c, l.shard, l.next); ; key, value = c.Next() {
		if key == nil || shardOf(key) != l.shard {
			l.done = true
			return page, nil
		}
		chunk, err := openRecords(key, value)
		if err != nil {
			return page, err
		}
		for l.next <= chunk.last() {
			if size += len(value) / chunk.n; len(page) > 0 && (len(page) >= pageRecords || size > pageBytes) {
				return page, nil
			}
			if page, err = l.take(page, &chunk); err != nil {
				return page, err
			}
		}
	}
}

func (l *logPages) take(page []store.Record, chunk *records) ([]store.Record, error) {
	data, err := chunk.at(l.next)
	if err != nil {
		return page, err
	}
	if data == nil {
		return page, fmt.Errorf("t %d is missing, and t %d is there: put what is missing, or rebuild the store from the queue", l.next, chunk.first)
	}
	var r store.Record
	if err := decode(l.shard, l.next, bytes.Clone(data), &r); err != nil {
		return page, err
	}
	l.next++
	return append(page, r), nil
}
