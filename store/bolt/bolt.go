// Package bolt is a store in bbolt files.
//
// Open makes a store of one file of its own, which holds all shards. On makes one of files that are open already, one
// for each shard: a worker that has a write transaction on such a file puts records into it with PutTx, and they become
// durable with everything else in that transaction.
//
// A record is written once, under its shard and t. Three indexes point to it: by command id, by event type and time, and by
// event id. All four change in one transaction. Queries never lag behind Put.
//
// What is put together is kept together: a batch costs much less than its records one by one. Command ids of any version cost
// the same where the caller knows that they are new. To find out whether they are is cheapest for version 7, whose ids grow.
// Reading never holds a transaction while the reader's own code runs; so an iteration over a store that
// is being written sees some of what arrives on the way.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Kind is what a file that Open makes says it is.
const Kind = "cqrs-store"

// Store is a store.Store in bbolt files.
type Store struct {
	shards  []*boltfile.File // by shard; nil when own holds all of them
	files   []*boltfile.File // each file once
	writers []*writer        // by place in files: PutTx's
	own     *boltfile.File   // closed with the store
	closed  atomic.Bool
}

var _ store.Store = (*Store)(nil)

// On is a store in files that others opened and will close. The file at place i holds shard i; several shards may share
// a file.
func On(files ...*boltfile.File) *Store {
	s := &Store{shards: slices.Clone(files)}
	for _, f := range files {
		if !slices.Contains(s.files, f) {
			s.addFile(f)
		}
	}
	return s
}

// Open opens the store in the file at path, and makes it when it is not there. The file holds all shards.
func Open(path string) (*Store, error) {
	f, err := boltfile.Open(path, boltfile.Options{Kind: Kind})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{own: f}
	s.addFile(f)
	return s, nil
}

func (s *Store) addFile(f *boltfile.File) {
	s.files = append(s.files, f)
	s.writers = append(s.writers, newWriter())
}

// Limit is 0: a payload may be as large as memory allows.
func (s *Store) Limit() int { return 0 }

// Close closes the file that Open opened; files given to On stay open. Afterwards every method returns store.ErrClosed.
func (s *Store) Close() error {
	if s.closed.Swap(true) || s.own == nil {
		return nil
	}
	return s.own.Close()
}

// Put keeps records, as store.Store says.
func (s *Store) Put(ctx context.Context, records []store.Record) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	var mem arena
	b, err := s.prepare(make(batch, 0, len(records)), &mem, records, false)
	if err != nil {
		return err
	}
	var refused []error
	for _, f := range s.files {
		no, err := putFile(ctx, f, b.of(s, f))
		refused = append(refused, no)
		if err != nil {
			return errors.Join(append(refused, fmt.Errorf("store: put into %s: %w", f.Path(), asClosed(err)))...)
		}
	}
	return joined(refused)
}

func putFile(ctx context.Context, f *boltfile.File, b batch) (refused, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	err = f.Update(ctx, func(tx *bbolt.Tx) (err error) {
		refused, err = newWriter().write(tx, b) // its memory is not used again: the transaction goes on after this call
		return err
	})
	if err != nil {
		return nil, err
	}
	return refused, nil
}

// PutTx is Put inside a write transaction on the file that holds the records' shards.
//
// With known, the caller says that it has seen the whole log of these shards and that the records are new, and that
// their events carry their ids. They are then written without looking for their commands, except those whose t is not
// beyond the shard's last one.
//
// An error that Refused tells apart leaves the transaction good: what it names was not written, and the rest was. After any
// other error the caller must roll back.
func (s *Store) PutTx(tx *bbolt.Tx, records []store.Record, known bool) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	w, err := s.writer(tx)
	if err != nil {
		return err
	}
	defer w.release()
	w.batch, err = s.prepare(w.batch[:0], &w.mem, records, known)
	if err != nil {
		return err
	}
	if err := s.checkFile(tx, w.batch); err != nil {
		return err
	}
	refused, err := w.write(tx, w.batch)
	if err != nil {
		return fmt.Errorf("store: put into %s: %w", tx.DB().Path(), err)
	}
	return refused
}

// writer is that of the file which tx writes.
func (s *Store) writer(tx *bbolt.Tx) (*writer, error) {
	path := tx.DB().Path()
	if !tx.Writable() {
		return nil, fmt.Errorf("store: put into %s: %w", path, berrors.ErrTxNotWritable)
	}
	i := slices.IndexFunc(s.files, func(f *boltfile.File) bool { return f.Path() == path })
	if i < 0 {
		return nil, fmt.Errorf("store: put into %s: the store was not made on this file", path)
	}
	s.writers[i].begin(tx)
	return s.writers[i], nil
}

func (s *Store) checkFile(tx *bbolt.Tx, b batch) error {
	for i := range b {
		if f, err := s.file(b[i].Shard); err != nil || f.Path() != tx.DB().Path() {
			return fmt.Errorf("store: command %s belongs to shard %d, which is not in %s", b[i].Command, b[i].Shard, tx.DB().Path())
		}
	}
	return nil
}

// LastTx is Last inside a transaction on the file that holds the shard.
func (s *Store) LastTx(tx *bbolt.Tx, shard int) (uint64, error) {
	return lastIn(tx, shard)
}

// Last is the greatest t of a shard, or 0.
func (s *Store) Last(ctx context.Context, shard int) (t uint64, err error) {
	err = s.view(ctx, shard, func(tx *bbolt.Tx) error {
		t, err = lastIn(tx, shard)
		return err
	})
	return t, err
}

// Event finds an event by its id.
func (s *Store) Event(ctx context.Context, id uuid.UUID) (e store.Entry, err error) {
	err = s.inAny(ctx, func(tx *bbolt.Tx) error {
		e, err = findEvent(tx, id)
		return err
	})
	if err != nil {
		return store.Entry{}, fmt.Errorf("event %s: %w", id, err)
	}
	return e, nil
}

// Commit finds the record of a command.
func (s *Store) Commit(ctx context.Context, command uuid.UUID) (r store.Record, err error) {
	err = s.inAny(ctx, func(tx *bbolt.Tx) error {
		r, err = findCommit(tx, command)
		return err
	})
	if err != nil {
		return store.Record{}, fmt.Errorf("command %s: %w", command, err)
	}
	return r, nil
}

// inAny calls fn on one file after the other as long as it answers ErrNotFound.
func (s *Store) inAny(ctx context.Context, fn func(*bbolt.Tx) error) error {
	for _, f := range s.files {
		if err := s.ready(ctx); err != nil {
			return err
		}
		if err := f.View(fn); !errors.Is(err, store.ErrNotFound) {
			return asClosed(err)
		}
	}
	return store.ErrNotFound
}

func (s *Store) view(ctx context.Context, shard int, fn func(*bbolt.Tx) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	f, err := s.file(shard)
	if err != nil {
		return err
	}
	return asClosed(f.View(fn))
}

func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// file is where a shard lives.
func (s *Store) file(shard int) (*boltfile.File, error) {
	switch {
	case shard < 0 || uint64(shard) > math.MaxUint32:
		return nil, fmt.Errorf("store: shard %d is outside of 0 to %d", shard, uint32(math.MaxUint32))
	case s.own != nil:
		return s.own, nil
	case shard >= len(s.shards):
		return nil, fmt.Errorf("store: there is no file for shard %d: the store was made on %d", shard, len(s.shards))
	}
	return s.shards[shard], nil
}

// asClosed gives the error of a closed file the name that the contract has for it.
func asClosed(err error) error {
	if errors.Is(err, boltfile.ErrClosed) {
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	}
	return err
}
