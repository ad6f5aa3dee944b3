package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

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

// logKey is a record's key in the log: shard, t.
func logKey(shard int, t uint64) (key [12]byte) {
	binary.BigEndian.PutUint32(key[:], uint32(shard))
	binary.BigEndian.PutUint64(key[4:], t)
	return key
}

func shardOf(key []byte) int { return int(binary.BigEndian.Uint32(key)) }

func tOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[4:]) }

func lastIn(tx *bbolt.Tx, shard int) uint64 {
	log := tx.Bucket(logBucket)
	if log == nil || shard < 0 {
		return 0
	}
	c := log.Cursor()
	end := logKey(shard, math.MaxUint64) // no record has that t
	found, _ := c.Seek(end[:])
	key := before(c, found)
	if key == nil || shardOf(key) != shard {
		return 0
	}
	return tOf(key)
}

// before is the key in front of the one that a Seek found, which may be none.
func before(c *bbolt.Cursor, found []byte) []byte {
	if found == nil {
		key, _ := c.Last()
		return key
	}
	key, _ := c.Prev()
	return key
}

// load decodes the record under a key of the log. Its bytes are the transaction's.
func load(tx *bbolt.Tx, key []byte, r *store.Record) error {
	data := tx.Bucket(logBucket).Get(key)
	if data == nil {
		return fmt.Errorf("an index points to t %d of shard %d, which is not there: %w", tOf(key), shardOf(key), errDamaged)
	}
	return decode(key, data, r)
}

func decode(key, data []byte, r *store.Record) error {
	r.Shard, r.T = shardOf(key), tOf(key)
	if err := r.Decode(data); err != nil {
		return fmt.Errorf("t %d of shard %d: %w: %w", r.T, r.Shard, errDamaged, err)
	}
	return nil
}

func findCommit(tx *bbolt.Tx, command uuid.UUID) (r store.Record, err error) {
	commands := tx.Bucket(commandBucket)
	if commands == nil {
		return r, store.ErrNotFound
	}
	key := commands.Get(command[:])
	if key == nil {
		return r, store.ErrNotFound
	}
	data := bytes.Clone(tx.Bucket(logBucket).Get(key))
	err = decode(key, data, &r)
	return r, err
}

// findEvent looks at all commits that the index names, because it holds only the front of each id.
func findEvent(tx *bbolt.Tx, id uuid.UUID) (store.Entry, error) {
	at, err := lookUp(tx, id)
	if err != nil {
		return store.Entry{}, err
	}
	var r store.Record
	for _, loc := range at {
		key := logKey(int(loc.shard), loc.t)
		if err := load(tx, key[:], &r); err != nil {
			return store.Entry{}, err
		}
		for i := range r.Events {
			if r.Events[i].ID == id {
				return entryOf(&r, i), nil
			}
		}
	}
	return store.Entry{}, store.ErrNotFound
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
	size, start := 0, logKey(l.shard, l.next)
	for key, data := c.Seek(start[:]); ; key, data = c.Next() {
		if key == nil || shardOf(key) != l.shard {
			l.done = true
			return page, nil
		}
		if size += len(data); len(page) > 0 && (len(page) >= pageRecords || size > pageBytes) {
			return page, nil
		}
		if page, err = l.take(page, key, data); err != nil {
			return page, err
		}
	}
}

func (l *logPages) take(page []store.Record, key, data []byte) ([]store.Record, error) {
	if t := tOf(key); t != l.next {
		return page, fmt.Errorf("t %d is missing, and t %d is there: put what is missing, or rebuild the store from the queue", l.next, t)
	}
	var r store.Record
	if err := decode(key, bytes.Clone(data), &r); err != nil {
		return page, err
	}
	l.next++
	return append(page, r), nil
}
