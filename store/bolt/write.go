package bolt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

var (
	logBucket     = []byte("store/log")     // shard, t -> a chunk of records
	commandBucket = []byte("store/command") // run, prefix -> a chunk of the index by command id
	eventBucket   = []byte("store/event")   // run, prefix -> a chunk of the index by event id
	runsBucket    = []byte("store/runs")    // which runs these two have
	typesBucket   = []byte("store/types")   // event type -> its number
	timeBucket    = []byte("store/time")    // type number, first place -> a block of places
)

const (
	growing = 0.95 // fill percent where keys only grow
	random  = 0.5

	maxRecord = bbolt.MaxValueSize - chunkTail
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

// writer writes batches to one file, one after the other. What it holds stays as it is until the transaction ends.
type writer struct {
	tx       *bbolt.Tx // which holds values of mem
	mem      arena
	batch    batch
	log      packer
	commands idIndex
	events   idIndex
	times    timeIndex
	last     map[int]uint64 // by shard
	doubted  []wanted       // records whose commands may be stored already, by prefix
	hits     []hit          // commits that may be theirs, by place in the batch
	refused  []error
}

func newWriter() *writer {
	return &writer{
		commands: idIndex{idKind: byCommand},
		events:   idIndex{idKind: byEvent},
		last:     map[int]uint64{},
	}
}

// begin makes the writer ready for a batch of tx. Transactions that write a file follow one another, so another one says that
// the one before has ended.
func (w *writer) begin(tx *bbolt.Tx) {
	if w.tx != tx {
		w.tx = tx
		w.mem.reset()
	}
}

// largeBatch is so long that the memory it took is not worth keeping.
const largeBatch = 1 << 16

// release lets go of the caller's records, and of what the transaction gave. The values stay.
func (w *writer) release() {
	if cap(w.batch) > largeBatch {
		tx := w.tx
		*w = *newWriter()
		w.tx = tx
		return
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	clear(w.last)
	w.refused = nil
	w.log.release()
	w.commands.release()
	w.events.release()
	w.times.release()
}

// write adds the batch to log and indexes. When err is not nil and the file is not broken, nothing was written.
func (w *writer) write(tx *bbolt.Tx, b batch) (refused, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if err := w.open(tx, b); err != nil {
		return nil, err
	}
	for i := range b {
		if err := w.add(b, i); err != nil {
			return nil, err
		}
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	return joined(w.refused), nil
}

// open reads all that is needed before anything is written.
func (w *writer) open(tx *bbolt.Tx, b batch) error {
	w.refused = nil
	err := cmp.Or(w.events.open(tx, b.events()), w.commands.open(tx, len(b)), w.times.open(tx), w.log.open(tx))
	if err != nil {
		return err
	}
	if err := w.doubt(tx, b); err != nil {
		return err
	}
	w.hits, err = w.commands.find(w.hits[:0], w.doubted)
	slices.SortStableFunc(w.hits, func(a, b hit) int { return cmp.Compare(a.i, b.i) })
	return err
}

func (w *writer) flush() error {
	return cmp.Or(w.log.flush(&w.mem), w.commands.flush(&w.mem), w.events.flush(&w.mem), w.times.flush(&w.mem))
}

func bucket(tx *bbolt.Tx, name []byte, fill float64) (*bbolt.Bucket, error) {
	b, err := tx.CreateBucketIfNotExists(name)
	if err == nil {
		b.FillPercent = fill
	}
	return b, err
}

// doubt finds out which records may be stored already.
func (w *writer) doubt(tx *bbolt.Tx, b batch) (err error) {
	w.doubted = w.doubted[:0]
	clear(w.last)
	for i := range b {
		p := &b[i]
		last, seen := w.last[p.Shard]
		if !seen {
			if last, err = lastIn(tx, p.Shard); err != nil {
				return err
			}
		}
		p.written, p.free = false, p.T > last
		w.last[p.Shard] = max(last, p.T)
		if p.twin = p.known && !p.free; p.twin || !p.known {
			w.doubted = append(w.doubted, wanted{commandPrefix(p.Command), i})
		}
	}
	slices.SortFunc(w.doubted, func(a, b wanted) int { return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.i, b.i)) })
	for i := 1; i < len(w.doubted); i++ {
		if w.doubted[i].prefix == w.doubted[i-1].prefix {
			b[w.doubted[i].i].twin = true
		}
	}
	return nil
}

// add writes one record, or refuses it.
func (w *writer) add(b batch, i int) error {
	p := &b[i]
	stored, err := w.standing(b[:i], p, w.hitsOf(i))
	if stored || err != nil {
		w.refused = append(w.refused, err)
		return nil
	}
	return w.put(p)
}

// hitsOf takes the hits of the batch's next record from the front.
func (w *writer) hitsOf(i int) []hit {
	n := 0
	for n < len(w.hits) && w.hits[n].i == i {
		n++
	}
	hits := w.hits[:n]
	w.hits = w.hits[n:]
	return hits
}

// standing tells whether the record is stored already, and which other stands in its way.
func (w *writer) standing(before batch, p *prepared, hits []hit) (bool, error) {
	if p.twin {
		for i := range before {
			if q := &before[i]; q.written && q.Command == p.Command {
				return same(q.Record, q.bytes(), p)
			}
		}
	}
	for _, h := range hits {
		if found, stored, err := w.compare(h, p); found || err != nil {
			return stored, err
		}
	}
	if p.free {
		return false, nil
	}
	data, err := w.log.get(p.Shard, p.T)
	if data != nil {
		err = taken(p, data)
	}
	return false, err
}

// compare tells whether a commit that the index names is that of the record's command, and if so whether it is the same.
func (w *writer) compare(h hit, p *prepared) (found, stored bool, err error) {
	data, err := w.log.get(int(h.shard), h.t)
	if err == nil && data == nil {
		err = missing(int(h.shard), h.t)
	}
	if err != nil {
		return false, false, fmt.Errorf("store: command %s: %w", p.Command, err)
	}
	var r store.Record
	if err := decode(int(h.shard), h.t, data, &r); err != nil {
		return false, false, fmt.Errorf("store: command %s: %w", p.Command, err)
	}
	if r.Command != p.Command {
		return false, false, nil
	}
	stored, err = same(&r, data, p)
	return true, stored, err
}

// same tells whether the record of p's command is the same one at the same place; otherwise it is an error.
func same(stored *store.Record, data []byte, p *prepared) (bool, error) {
	if stored.Shard == p.Shard && stored.T == p.T && bytes.Equal(data, p.bytes()) {
		return true, nil
	}
	return false, store.Conflict(stored, p.Record)
}

func taken(p *prepared, data []byte) error {
	var stored store.Record
	_ = stored.Decode(data) // the command's id is enough, and it stands at the front
	return &TakenError{Shard: p.Shard, T: p.T, Stored: stored.Command, Offered: p.Command}
}

func (w *writer) put(p *prepared) error {
	p.written = true
	if err := w.log.add(p, &w.mem); err != nil {
		return err
	}
	w.commands.add(p.Command, p.Shard, p.T)
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
