package cqrs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/store"
)

// To build an aggregate, stored commits are read, decoded and digested in a goroutine of their own, ahead of those that are folded.

const (
	partCommits = 256       // that are handed over together
	partBytes   = 128 << 10 // about, of what they hold
	partsAhead  = 96        // that may wait

	stepCommits = 32768   // that are folded in one transaction, about
	stepBytes   = 8 << 20 // about, of what they hold
)

// part is commits that follow one another.
type part struct {
	commits []Commit
	digests []Digest // of the log, behind each of them
	size    int
	err     error // why nothing follows
}

// reader reads ahead.
type reader struct {
	types  *registry
	shard  int
	t      uint64 // of the last commit that was read
	digest Digest
	to     uint64
	alone  bool // read ends when partsAhead parts are handed over
	parts  chan part
	part   part

	decoder store.Decoder
	values  []Event // room for the part's
	bytes   []byte  // scratch
}

// read hands over the commits up to to, or as far as there are any and somebody takes them, and closes parts.
func (r *reader) read(ctx context.Context, s store.Store) {
	defer close(r.parts)
	if raw, ok := s.(store.RawLogger); ok {
		readLog(ctx, r, raw.RawLog(ctx, r.shard, r.t+1), r.addRaw)
	} else {
		readLog(ctx, r, s.Log(ctx, r.shard, r.t+1), r.addRecord)
	}
}

// begin reads ahead until stop is called.
func (r *reader) begin(ctx context.Context, s store.Store) (parts <-chan part, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if r.alone {
		r.read(ctx, s)
	} else {
		go r.read(ctx, s)
	}
	return r.parts, func() {
		cancel()
		for range r.parts { // until the reader has ended
		}
	}
}

func readLog[R any](ctx context.Context, r *reader, log iter.Seq2[R, error], add func(*R) error) {
	for record, err := range log {
		if err == nil {
			err = add(&record)
		}
		if err != nil {
			r.part.err = err
			break
		}
		if r.full() && !r.handOver(ctx) {
			return
		}
		if r.t >= r.to || r.alone && len(r.parts) == partsAhead-1 {
			break
		}
	}
	r.handOver(ctx)
}

func (r *reader) addRaw(raw *store.Raw) error {
	c := r.room()
	c.Shard, c.T = r.shard, raw.T
	if err := r.decoder.Decode(raw.Data, &c.Record); err != nil {
		return fmt.Errorf("commit t %d: %w", raw.T, err)
	}
	return r.added(c, raw.Data)
}

func (r *reader) addRecord(record *store.Record) error {
	c := r.room()
	c.Record = *record
	r.bytes = record.Append(r.bytes[:0])
	return r.added(c, r.bytes)
}

// room is for the next commit.
func (r *reader) room() *Commit {
	p := &r.part
	if p.commits == nil {
		n := r.partSize()
		p.commits, p.digests = make([]Commit, 0, n), make([]Digest, 0, n)
		r.values = make([]Event, n)
	}
	return &p.commits[:len(p.commits)+1][len(p.commits)]
}

// partSize is how many commits are handed over together, at most. In a simulation it is few, so that there are several parts.
func (r *reader) partSize() int {
	if r.alone {
		return 5
	}
	return partCommits
}

// added counts the commit that was put into the room.
func (r *reader) added(c *Commit, data []byte) error {
	if c.T != r.t+1 {
		return fmt.Errorf("the store gave commit t %d behind t %d", c.T, r.t)
	}
	r.values = r.types.decodeInto(c, r.values)
	r.t, r.digest = c.T, r.digest.next(data)
	p := &r.part
	p.commits, p.digests, p.size = p.commits[:len(p.commits)+1], append(p.digests, r.digest), p.size+len(data)
	return nil
}

// full tells that the part is to be handed over.
func (r *reader) full() bool {
	return len(r.part.commits) == r.partSize() || r.part.size >= partBytes
}

// handOver is false when nobody takes parts any more.
func (r *reader) handOver(ctx context.Context) bool {
	if len(r.part.commits) == 0 && r.part.err == nil {
		return true
	}
	select {
	case r.parts <- r.part:
		r.part = part{}
		return true
	case <-ctx.Done():
		return false
	}
}

// building says how an aggregate is built.
type building struct {
	store store.Store
	to    uint64            // t
	alone bool              // nothing runs beside: parts are read before they are folded
	also  func(*part) error // writes what belongs to commits in their transaction; may be nil
	saved func(position)    // is called behind each transaction: the position is the aggregate's from then on
}

// build folds stored commits up to b.to, or as far as the store goes.
func (w *work) build(ctx context.Context, b building) error {
	for from := w.agg.position().t; from < b.to; {
		if err := w.buildOn(ctx, &b); err != nil {
			return err
		}
		at := w.agg.position().t
		if at == from {
			return nil
		}
		from = at
	}
	return nil
}

// buildOn folds what is read from the position on.
func (w *work) buildOn(ctx context.Context, b *building) error {
	from := w.agg.position()
	r := &reader{
		types: w.types, shard: w.agg.shard, t: from.t, digest: from.digest, to: b.to, alone: b.alone, parts: make(chan part, partsAhead),
	}
	parts, stop := r.begin(ctx, b.store)
	defer stop()
	for {
		if more, err := w.buildStep(ctx, b, parts); err != nil || !more {
			return err
		}
	}
}

// buildStep folds some parts in one transaction. There was nothing to fold when more is false.
func (w *work) buildStep(ctx context.Context, b *building, parts <-chan part) (more bool, err error) {
	next, ok := <-parts
	if !ok || len(next.commits) == 0 {
		return false, errors.Join(next.err, ctx.Err())
	}
	defer w.rollback()
	defer w.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	if err := w.begin(); err != nil {
		return false, err
	}
	for n, size := 0, 0; len(next.commits) > 0; next = nextPart(ctx, parts) {
		if err := w.foldPart(ctx, b, &next); err != nil {
			return false, err
		}
		n, size = n+len(next.commits), size+next.size
		if next.err != nil || n >= stepCommits || size >= stepBytes || b.alone {
			break
		}
	}
	w.pos.delivered = w.pos.t
	fail.Here("rebuild: folded")
	if err := errors.Join(ctx.Err(), w.save()); err != nil {
		return false, err
	}
	tx := w.tx
	w.tx = nil
	if err := tx.Commit(); err != nil {
		return false, err
	}
	b.saved(w.pos)
	return next.err == nil, next.err
}

// patience is how long a transaction waits for the store: others may wait for the transaction.
const patience = 10 * time.Millisecond

// nextPart is empty when nothing came in time.
func nextPart(ctx context.Context, parts <-chan part) part {
	select {
	case p := <-parts:
		return p
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case p := <-parts:
		return p
	case <-timer.C:
	case <-ctx.Done():
	}
	return part{}
}

func (w *work) foldPart(ctx context.Context, b *building, p *part) error {
	for i := range p.commits {
		if err := w.foldNext(ctx, &p.commits[i], p.digests[i]); err != nil {
			return err
		}
	}
	if b.also == nil {
		return nil
	}
	return b.also(p)
}

// foldNext folds a commit that came from the store. The digest is that of the log behind it.
func (w *work) foldNext(ctx context.Context, c *Commit, digest Digest) error {
	if c.T <= w.pos.t {
		return nil // a commit whose outcome was unknown took place
	}
	if c.T != w.pos.t+1 {
		return fmt.Errorf("the store gave commit t %d behind t %d", c.T, w.pos.t)
	}
	w.rows.settle()
	w.follow(c, digest)
	w.foldCommit(ctx, c)
	return nil
}

const recordsStep = 2000

// readRecords gives the next stored commits, as many as are put elsewhere at a time.
func readRecords(ctx context.Context, s store.Store, shard int, from, to uint64) (records []store.Record, err error) {
	if from > to {
		return nil, nil
	}
	for r, err := range s.Log(ctx, shard, from) {
		if err != nil {
			return nil, err
		}
		if records = append(records, r); r.T >= to || len(records) == recordsStep {
			break
		}
	}
	return records, nil
}
