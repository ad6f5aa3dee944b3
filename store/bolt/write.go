package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

var (
	logBucket     = []byte("store/log")     // shard, t -> the record's bytes
	commandBucket = []byte("store/command") // command id -> the key in the log
	typesBucket   = []byte("store/types")   // event type -> its number
	timeBucket    = []byte("store/time")    // type number, time, shard, t -> places in the commit
	eventBucket   = []byte("store/event")   // run, id prefix -> a chunk of the index by event id
	runsBucket    = []byte("store/runs")    // which runs there are
)

const (
	growing = 0.95 // fill percent where keys only grow
	random  = 0.5

	maxRecord = bbolt.MaxValueSize
)

// TakenError says that another command stands at a record's place in the log. The record was not written. Whoever numbered them
// saw different logs: stop, and compare the shard's log with the queue.
type TakenError struct {
	Shard   int
	T       uint64
	Stored  uuid.UUID
	Offered uuid.UUID
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("store: t %d of shard %d holds command %s; command %s was not written there: "+
		"the log was numbered twice, or the store belongs to another log", e.T, e.Shard, e.Stored, e.Offered)
}

// refusal says that some records were not written and that the others were.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refused tells whether err, which PutTx returned, left the transaction good to commit.
func Refused(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok
}

func joined(errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return refusal{err}
	}
	return nil
}

// prepared is a record that can be written: nothing about it can fail any more.
type prepared struct {
	*store.Record
	bytes []byte
	known bool
}

type batch []prepared

// prepare encodes outside of the transaction, and finds all faults before anything is written.
func (s *Store) prepare(records []store.Record, known bool) (batch, error) {
	b := make(batch, len(records))
	arena := make([]byte, 0, sizeHint(records)) // bbolt keeps values until the commit: not to be used again
	for i := range records {
		r := &records[i]
		if err := s.check(r); err != nil {
			return nil, err
		}
		start := len(arena)
		arena = r.Append(arena)
		b[i] = prepared{Record: r, bytes: arena[start:len(arena):len(arena)], known: known}
		if len(b[i].bytes) > maxRecord {
			return nil, fmt.Errorf("store: command %s has %d bytes with its events; the limit is %d", r.Command, len(b[i].bytes), maxRecord)
		}
	}
	return b, nil
}

func sizeHint(records []store.Record) (n int) {
	for i := range records {
		r := &records[i]
		n += 128 + len(r.CommandType) + len(r.Key) + len(r.Code) + len(r.Remarks) + 64*len(r.Trace)
		for j := range r.Events {
			n += 16 + len(r.Events[j].Segment) + len(r.Events[j].Type) + len(r.Events[j].Data)
		}
	}
	return n
}

func (s *Store) check(r *store.Record) error {
	if r.T == 0 || r.T > math.MaxInt64 {
		return fmt.Errorf("store: command %s has t %d; the first t of a log is 1, and the greatest is %d", r.Command, r.T, math.MaxInt64)
	}
	if r.Prev != nil && len(r.Prev) != 32 {
		return fmt.Errorf("store: command %s has a digest of %d bytes in Prev; it must have 32, or be nil", r.Command, len(r.Prev))
	}
	_, err := s.file(r.Shard)
	return err
}

// of is the part of a batch that belongs into file f.
func (b batch) of(s *Store, f *boltfile.File) batch {
	if len(s.files) == 1 {
		return b
	}
	var part batch
	for i := range b {
		if s.shards[b[i].Shard] == f {
			part = append(part, b[i])
		}
	}
	return part
}

func (s *Store) checkFile(tx *bbolt.Tx, b batch) error {
	for i := range b {
		if f, err := s.file(b[i].Shard); err != nil || f.Path() != tx.DB().Path() {
			return fmt.Errorf("store: command %s belongs to shard %d, which is not in %s", b[i].Command, b[i].Shard, tx.DB().Path())
		}
	}
	return nil
}

// writer writes one batch.
type writer struct {
	log, commands *bbolt.Bucket
	times         *timeIndex
	events        *eventIndex
	last          map[int]uint64 // by shard
	keys          []byte         // they are values as well, and bbolt keeps values until the commit
	refused       []error
}

// write adds the batch to log and indexes. When err is not nil and the file is not broken, nothing was written.
func (b batch) write(tx *bbolt.Tx) (refused, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	w, err := newWriter(tx, b)
	if err != nil {
		return nil, err
	}
	for i := range b {
		if err := w.add(tx, &b[i]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.times.flush(), w.events.flush()); err != nil {
		return nil, err
	}
	return joined(w.refused), nil
}

func newWriter(tx *bbolt.Tx, b batch) (*writer, error) {
	events, err := openEventIndex(tx, b.events()) // reads all it needs before anything is written
	if err != nil {
		return nil, err
	}
	w := &writer{events: events, last: map[int]uint64{}, keys: make([]byte, 0, 12*len(b))}
	if w.log, err = bucket(tx, logBucket, growing); err != nil {
		return nil, err
	}
	if w.commands, err = bucket(tx, commandBucket, b.fill()); err != nil {
		return nil, err
	}
	w.times, err = openTimeIndex(tx)
	return w, err
}

func bucket(tx *bbolt.Tx, name []byte, fill float64) (*bbolt.Bucket, error) {
	b, err := tx.CreateBucketIfNotExists(name)
	if err == nil {
		b.FillPercent = fill
	}
	return b, err
}

func (b batch) events() (n int) {
	for i := range b {
		n += len(b[i].Events)
	}
	return n
}

// fill is how full pages of command ids get: version 7 arrives nearly in order.
func (b batch) fill() float64 {
	if b[0].Command.Version() == 7 {
		return growing
	}
	return random
}

func (w *writer) add(tx *bbolt.Tx, p *prepared) error {
	last, seen := w.last[p.Shard]
	if !seen {
		last = lastIn(tx, p.Shard)
	}
	w.last[p.Shard] = max(last, p.T)
	key := w.key(p)
	if !p.known || p.T <= last {
		if stored, err := w.standing(p, key); stored || err != nil {
			w.refused = append(w.refused, err)
			return nil
		}
	}
	return w.put(p, key)
}

func (w *writer) key(p *prepared) []byte {
	key, start := logKey(p.Shard, p.T), len(w.keys)
	w.keys = append(w.keys, key[:]...)
	return w.keys[start:len(w.keys):len(w.keys)]
}

// standing tells whether the record is stored already, and which other stands in its way.
func (w *writer) standing(p *prepared, key []byte) (bool, error) {
	if at := w.commands.Get(p.Command[:]); at != nil {
		data := w.log.Get(at)
		if bytes.Equal(at, key) && bytes.Equal(data, p.bytes) {
			return true, nil
		}
		var stored store.Record
		if err := stored.Decode(data); err != nil {
			return false, fmt.Errorf("store: command %s: its record at t %d is damaged: %w", p.Command, tOf(at), err)
		}
		return false, store.Conflict(&stored, p.Record)
	}
	if data := w.log.Get(key); data != nil {
		return false, taken(p, data)
	}
	return false, nil
}

func taken(p *prepared, data []byte) error {
	var stored store.Record
	_ = stored.Decode(data) // the command's id is enough, and it stands at the front
	return &TakenError{Shard: p.Shard, T: p.T, Stored: stored.Command, Offered: p.Command}
}

func (w *writer) put(p *prepared, key []byte) error {
	if err := w.log.Put(key, p.bytes); err != nil {
		return err
	}
	if err := w.commands.Put(p.Command[:], key); err != nil {
		return err
	}
	for i := range p.Events {
		w.events.add(p.eventID(i), p.Shard, p.T)
		if err := w.times.add(p.Record, i); err != nil {
			return err
		}
	}
	return nil
}

func (p *prepared) eventID(i int) uuid.UUID {
	if e := &p.Events[i]; p.known && e.ID != uuid.Nil {
		return e.ID
	}
	return ids.Event(p.Command, i, p.Events[i].Segment)
}
