package cqrs

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// A shard whose log is an event queue of its own is held by any number of processes. Each follows the log and accepts by the same
// rule, so that all have the same value at the same t; one of them owns the shard, and works it (served.go).

// readLog gives what the log holds from an offset on, without waiting for more.
func (s *Shard) readLog(ctx context.Context, from int64, most int) ([]queue.Message, error) {
	start, end, err := s.rt.queue.Bounds(ctx, topicEvents, s.n)
	switch {
	case err != nil || from == end:
		return nil, err
	case from < start || from > end:
		return nil, s.notThere(ctx, &queue.RangeError{Topic: topicEvents, Shard: s.n, Want: from, Start: start, End: end})
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	msgs, err := s.rt.queue.Read(ctx, topicEvents, s.n, from, most)
	return msgs, s.logError(err)
}

// admitEntry judges a message of the log, in the batch. It gives a commit that takes effect now, or took effect before. (Then its T is not
// beyond the batch's.)
func (s *Shard) admitEntry(e *entry) (*Commit, error) {
	b := &s.batch
	defer b.passed(e)
	switch {
	case e.fault != nil:
		s.rt.cfg.Log.Warn("cqrs: a message in the log is void", "shard", s.n, "offset", e.offset, "error", e.fault)
		return nil, nil
	case e.refusal != nil:
		return nil, s.admitRefusal(e.refusal, e.offset)
	}
	c := e.commit
	c.Shard = s.n
	now, again, err := b.admit(c, e.offset)
	again = again && !mutant.Is("feedback lost after a crash")
	if err != nil || !now && !again {
		return nil, err
	}
	s.rt.types.decodeStored(c)
	c.readRemarks()
	if now {
		b.done = append(b.done, ended{commit: c})
	}
	return c, nil
}

func (c *Commit) readRemarks() {
	if len(c.Record.Remarks) > 0 {
		_ = json.Unmarshal(c.Record.Remarks, &c.remarks) // those of another version of the code may be lost
	}
}

func (s *Shard) admitRefusal(r *refusal, offset int64) error {
	now, err := s.batch.admitRefusal(r, offset)
	if !now || err != nil {
		return err
	}
	e := decodeError(r.err)
	e.origin = &command{Envelope: Envelope{ID: r.command}, payload: r.payload}
	s.batch.done = append(s.batch.done, ended{err: e})
	return nil
}

// apply brings messages of the log into the aggregate, in one transaction.
func (s *Shard) apply(ctx context.Context, msgs []queue.Message) (err error) {
	same, err := s.lookBeside(ctx)
	if err != nil {
		return err
	}
	b := &s.batch
	defer b.rollback()
	defer s.file.Guard(&err, debug.SetPanicOnFault(true))
	err = s.applyAll(ctx, msgs)
	if other := same(); other != nil {
		return other // what went wrong besides came of that
	}
	if err != nil {
		return err
	}
	return b.commit()
}

// lookBeside makes sure that what was read is behind what was applied, while it is being applied. In a simulation there is nothing beside.
func (s *Shard) lookBeside(ctx context.Context) (same func() error, err error) {
	if mutant.Is("follower does not look at what it follows") {
		return func() error { return nil }, nil
	}
	if s.rt.stepped {
		return func() error { return nil }, s.sameLog(ctx)
	}
	looked := make(chan error, 1)
	go func() { looked <- s.sameLog(ctx) }()
	return func() error { return <-looked }, nil
}

// applyAll brings messages of the log into the batch.
func (s *Shard) applyAll(ctx context.Context, msgs []queue.Message) error {
	b := &s.batch
	if err := b.begin(ctx); err != nil {
		return err
	}
	var accepted []store.Record
	for i := range msgs {
		e := readEntry(&msgs[i])
		c, err := s.admitEntry(&e)
		if err != nil {
			return err
		}
		if c == nil || c.T <= b.found.t {
			continue
		}
		c.remarks = append(c.remarks, b.foldCommit(ctx, c)...)
		accepted = append(accepted, c.Record)
	}
	return s.archive(accepted)
}

// archive keeps commits in the shard's file, where there is no other store.
func (s *Shard) archive(records []store.Record) error {
	if s.served.local == nil || len(records) == 0 {
		return nil
	}
	return s.served.local.PutTx(s.batch.tx.Tx, records, true)
}

// The keys of what is kept beside the position.
var (
	offsetsKey  = []byte("offsets") // how far the work has come that this process did
	topicsKey   = []byte("topics")  // the identities of the topics that the aggregate follows
	rebuiltName = []byte("rebuilt") // how far the log has come of what came from the store
	strayedKey  = []byte("strayed") // why the aggregate is not that of the log
	outranKey   = []byte("outran")  // where an earlier version stood in the log, if it was further
	knowsKey    = []byte("knows")   // the offset from which on the log was read; before it are refusals that are not known here
)

// state reads a value that is kept beside the position; nil when there is none.
func (s *Shard) state(key []byte) (value []byte, err error) {
	err = s.file.View(func(tx *bbolt.Tx) error {
		if raw := tx.Bucket(s.agg().stateName).Get(key); raw != nil {
			value = append([]byte{}, raw...)
		}
		return nil
	})
	return value, readError(err)
}

func (s *Shard) setState(ctx context.Context, key, value []byte) error {
	return readError(s.file.Update(ctx, func(tx *bbolt.Tx) error { return tx.Bucket(s.agg().stateName).Put(key, value) }))
}

// hold follows the log and the feedback until stop is called.
func (s *Shard) hold(ctx context.Context) (stop func()) {
	if s.rt.stepped {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	listening, following := make(chan struct{}), make(chan struct{})
	go func() { defer close(listening); s.listen(ctx) }()
	go func() { defer close(following); s.follow(ctx) }()
	return func() { cancel(); <-listening; <-following }
}

// follow applies the log as it grows, until ctx ends.
func (s *Shard) follow(ctx context.Context) {
	if s.agg() == nil {
		return
	}
	retry, checked := newBackoff(), false
	for ctx.Err() == nil {
		err := s.followStep(ctx, &checked)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.pause(ctx, retry, err)
		default:
			s.recovered(retry)
		}
	}
}

// followStep waits for what comes next in the log, and applies it.
func (s *Shard) followStep(ctx context.Context, checked *bool) error {
	if !*checked {
		if err := s.checkLog(ctx); err != nil {
			return err
		}
		*checked = true
	}
	if err := s.next.changeOver(ctx); err != nil {
		return err
	}
	reading, stop := s.next.whileNotDue(ctx)
	msgs, err := s.rt.queue.Read(reading, topicEvents, s.n, s.agg().position().offset, s.rt.cfg.Batch)
	stop()
	if errors.Is(context.Cause(reading), errDue) && err != nil {
		return nil
	}
	if err == nil {
		err = s.apply(ctx, msgs)
	}
	if err != nil {
		*checked = false
	}
	return s.logError(err)
}
