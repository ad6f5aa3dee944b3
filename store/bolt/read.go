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
	return pages(ctx, s, shard, from, func(page []store.Record, t uint64, data []byte) ([]store.Record, error) {
		var r store.Record
		err := decode(shard, t, bytes.Clone(data), &r)
		if err == nil {
			page = append(page, r)
		}
		return page, err
	})
}

// RawLog is Log without decoding.
func (s *Store) RawLog(ctx context.Context, shard int, from uint64) iter.Seq2[store.Raw, error] {
	var block []byte
	return pages(ctx, s, shard, from, func(page []store.Raw, t uint64, data []byte) ([]store.Raw, error) {
		if cap(block)-len(block) < len(data) {
			block = make([]byte, 0, max(rawBlock, len(data)))
		}
		at := len(block)
		block = append(block, data...)
		return append(page, store.Raw{T: t, Data: block[at:len(block):len(block)]}), nil
	})
}

const rawBlock = 64 << 10 // bytes that are allocated at a time

// pages goes through a shard's log page by page. add copies a record out.
func pages[R any](ctx context.Context, s *Store, shard int, from uint64, add func(page []R, t uint64, data []byte) ([]R, error)) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		l := logPages[R]{shard: shard, next: max(from, 1), add: add}
		for !l.done {
			err := s.view(ctx, shard, l.read)
			for i := 0; i < len(l.page) && ctx.Err() == nil; i++ {
				if !yield(l.page[i], nil) {
					return
				}
			}
			if err = errors.Join(ctx.Err(), err); err != nil {
				var none R
				yield(none, fmt.Errorf("log of shard %d: %w", shard, err))
				return
			}
		}
	}
}

// logPages goes through a shard's log page by page.
type logPages[R any] struct {
	shard int
	next  uint64
	done  bool
	page  []R
	add   func(page []R, t uint64, data []byte) ([]R, error)
}

// read copies the next records out. An error stands behind them.
func (l *logPages[R]) read(tx *bbolt.Tx) error {
	l.page = l.page[:0]
	log := tx.Bucket(logBucket)
	if log == nil {
		l.done = true
		return nil
	}
	c := log.Cursor()
	size := 0
	for key, value := seekLog(c, l.shard, l.next); ; key, value = c.Next() {
		if key == nil || len(key) == 12 && shardOf(key) != l.shard { // openRecords tells of a key of another length
			l.done = true
			return nil
		}
		chunk, err := openRecords(key, value)
		if err != nil {
			return err
		}
		for l.next <= chunk.last() {
			if size += len(value) / chunk.n; len(l.page) > 0 && (len(l.page) >= pageRecords || size > pageBytes) {
				return nil
			}
			if err := l.take(&chunk); err != nil {
				return err
			}
		}
	}
}

func (l *logPages[R]) take(chunk *records) error {
	data, err := chunk.at(l.next)
	if err != nil {
		return err
	}
	if data == nil {
		return fmt.Errorf("t %d is missing, and t %d is there: put what is missing, or rebuild the store from the queue", l.next, chunk.first)
	}
	if l.page, err = l.add(l.page, l.next, data); err == nil {
		l.next++
	}
	return err
}
