package cqrs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

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

// notThere explains why the log does not hold an offset: it may be another topic's by now.
func (s *Shard) notThere(ctx context.Context, lost *queue.RangeError) error {
	if err := s.checkTopics(ctx); err != nil {
		return err
	}
	return s.logError(lost)
}

const readWithin = 10 * time.Second // for messages that are there

// beginAnew is what to do when the topics are others now. Offsets can outlive their topic, or be told by somebody who has not seen yet that
// it is gone.
const beginAnew = "Stop all processes, see that the store is complete and that the offsets which the queue keeps for the old topics are " +
	"deleted, and move the data folders away, so that they are built anew from the store"

// logError explains what it means that the log is not where it was left.
func (s *Shard) logError(err error) error {
	lost, ok := errors.AsType[*queue.RangeError](err)
	switch {
	case errors.Is(err, queue.ErrOtherTopic):
		return fmt.Errorf("the topics of shard %d were deleted and made again. "+beginAnew+": %w", s.n, err)
	case !ok:
		return err
	case lost.Want > lost.End:
		return fmt.Errorf("the log of shard %d ends at offset %d, and %s has applied it up to %d: it was truncated. "+
			"Stop all processes, restore the topic, or move the data folders away so that they are built anew from the store: %w",
			s.n, lost.End, s.file.Path(), lost.Want, err)
	}
	return fmt.Errorf("the log of shard %d begins at offset %d, and %d is wanted: retention has dropped what is between. "+
		"Begin with a snapshot of another process, or with a store that has it: %w", s.n, lost.Start, lost.Want, err)
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
	knowsKey    = []byte("knows")   // the offset from which on the log was read; before it are refusals that are not known here
)

// topicIDs are the identities of the topics of a shard.
type topicIDs struct {
	Commands string `json:"commands"`
	Events   string `json:"events"`
}

// checkLog makes sure that the aggregate follows the log that it followed before: the same topic, with the same message before the
// position. An aggregate that is new, or too far behind, is brought along from the store first.
func (s *Shard) checkLog(ctx context.Context) error {
	if err := errors.Join(s.hasStrayed(), s.checkTopics(ctx)); err != nil {
		return err
	}
	start, end, err := s.rt.queue.Bounds(ctx, topicEvents, s.n)
	if err != nil {
		return err
	}
	at := s.agg().position().offset
	half, err := s.halfBuilt()
	if err != nil {
		return err
	}
	if at > end {
		return s.logError(&queue.RangeError{Topic: topicEvents, Shard: s.n, Want: at, Start: start, End: end})
	}
	if at < start || s.agg().position().t == 0 || half && !mutant.Is("half built taken for built") {
		return s.fromStore(ctx, start)
	}
	if at == start {
		return nil
	}
	return s.checkAnchor(ctx, at-1)
}

// sameLog makes sure that what was read from the log is behind what was applied: meanwhile the topic may have been made anew, or cut off
// and written again. It is called between reading and the end of applying.
func (s *Shard) sameLog(ctx context.Context) error {
	if at := s.agg().position().offset; at > 0 {
		err := s.checkAnchor(ctx, at-1)
		if lost, ok := errors.AsType[*queue.RangeError](err); !ok || lost.Want >= lost.Start {
			return err
		} // else retention has dropped it
	}
	return s.checkTopics(ctx)
}

// checkAnchor compares the last message that was applied with the one that is in its place.
func (s *Shard) checkAnchor(ctx context.Context, at int64) error {
	return s.holds(ctx, at, s.agg().position().anchor)
}

// errOtherLog says that what was applied is not what the log holds.
var errOtherLog = errors.New("it belongs to another log, or the log was damaged. Stop all processes, and move the data folders of those that " +
	"differ away, so that they are built anew from the store")

// holds makes sure that the log has at an offset the message that was applied.
func (s *Shard) holds(ctx context.Context, at int64, applied anchor) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	msgs, err := s.rt.queue.Read(ctx, topicEvents, s.n, at, 1)
	if err != nil {
		return s.logError(err)
	}
	if len(msgs) > 0 && msgs[0].Offset == at && anchorOf(msgs[0].Value) != applied && !mutant.Is("anchor unchecked") {
		return fmt.Errorf("offset %d of the log of shard %d holds another message than the one that %s has applied: %w",
			at, s.n, s.file.Path(), errOtherLog)
	}
	return nil
}

func (s *Shard) checkTopics(ctx context.Context) error {
	var now, was topicIDs
	var err1, err2 error
	now.Commands, err1 = s.rt.queue.Identity(ctx, topicCommands)
	now.Events, err2 = s.rt.queue.Identity(ctx, topicEvents)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	raw, err := s.state(topicsKey)
	if err != nil {
		return err
	}
	switch text, _ := json.Marshal(now); {
	case raw == nil:
		return s.setState(ctx, topicsKey, text)
	case bytes.Equal(raw, text): // as nearly always
		return nil
	}
	if err := json.Unmarshal(raw, &was); err != nil {
		return fmt.Errorf("%s: what it says of the topics can't be read: the file is damaged", s.file.Path())
	}
	if was != now && !mutant.Is("topic identity ignored") {
		return fmt.Errorf("the topics of shard %d were deleted and made again (they are %v, and %s follows %v): their offsets mean "+
			"something else now. "+beginAnew, s.n, now, s.file.Path(), was)
	}
	return nil
}

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

// fromStore folds what the store has and the aggregate lacks. The log is then read from its start: what is there already is
// known by its marks.
func (s *Shard) fromStore(ctx context.Context, start int64) error {
	if s.served.local != nil {
		if s.agg().position().offset < start {
			return s.logError(&queue.RangeError{Topic: topicEvents, Shard: s.n, Want: s.agg().position().offset, Start: start})
		}
		return nil
	}
	last, err := s.rt.store.Last(ctx, s.n)
	if err != nil {
		return err
	}
	meter := newMeter(s.rt.cfg.Progress, "main", s.agg())
	var awaited []ended
	err = s.batch.work.build(ctx, building{
		store: s.rt.store, to: last, alone: s.rt.stepped,
		also: func(p *part) error {
			awaited = append(awaited, s.awaited(p.commits)...)
			return s.fromStorePart(start, last, p)
		},
		saved: func(p position) {
			s.publish(p)
			s.rt.receipts.settle(awaited)
			awaited = awaited[:0]
			meter.show(p.t, last)
		},
	})
	if t := s.agg().position().t; err == nil && t < last {
		err = fmt.Errorf("it ends at t %d, and said that it went to %d", t, last)
	}
	if err != nil {
		return fmt.Errorf("build shard %d from the store: %w", s.n, err)
	}
	return s.skipTo(ctx, start)
}

// awaited is those commits that somebody waits for: they were accepted before this process has read the log.
func (s *Shard) awaited(commits []Commit) (list []ended) {
	for i := range commits {
		if s.rt.receipts.waitsFor(commits[i].Command) && !mutant.Is("receipts forgotten by a rebuild") {
			c := &Commit{Record: commits[i].Record}
			s.rt.types.decodeStored(c)
			c.readRemarks()
			list = append(list, ended{commit: c})
		}
	}
	return list
}

// fromStorePart writes, into their transaction, what commits from the store bring along.
func (s *Shard) fromStorePart(start int64, last uint64, p *part) (err error) {
	w := &s.batch.work
	w.pos.offset, w.pos.anchor = start, anchor{}
	for i := range p.commits {
		c := &p.commits[i]
		m := mark{t: c.T, payload: c.Payload, refusal: p.digests[i][:]}
		if !mutant.Is("rebuild forgets the marks") {
			err = errors.Join(err, s.batch.setMark(c.Command[:], &m))
		}
	}
	return errors.Join(err, s.batch.setRebuilt(&rebuilt{last: last}), putKnows(w.tx.Bucket(w.agg.stateName), start))
}

// putKnows notes that the log before an offset was not read.
func putKnows(state *bbolt.Bucket, start int64) error {
	return state.Put(knowsKey, binary.BigEndian.AppendUint64(nil, uint64(start)))
}

// loadKnows reads from where on the log was read.
func (s *Shard) loadKnows() error {
	raw, err := s.state(knowsKey)
	if s.knows = 0; len(raw) == 8 {
		s.knows = int64(binary.BigEndian.Uint64(raw))
	}
	return err
}

// skipTo makes the log's start the position, where everything before it came from the store.
func (s *Shard) skipTo(ctx context.Context, start int64) error {
	if s.agg().position().offset >= start {
		return nil
	}
	err := s.file.Update(ctx, func(tx *bbolt.Tx) error {
		p, err := s.agg().positionIn(tx)
		if err != nil {
			return err
		}
		p.offset, p.anchor = start, anchor{}
		state := tx.Bucket(s.agg().stateName)
		return errors.Join(state.Put(positionKey, p.encode()), putKnows(state, start), lostPlace(state))
	})
	return errors.Join(readError(err), s.agg().load())
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

// listen hears how commands end that this process sent and another worked, until ctx ends.
func (s *Shard) listen(ctx context.Context) {
	retry := newBackoff()
	for ctx.Err() == nil {
		err := s.listenOn(ctx, retry)
		s.isDeaf(ctx, err)
		sleep(ctx, retry.NextBackOff())
	}
	s.isDeaf(context.Background(), nil)
}

// listenOn hears the feedback that comes, until that fails.
func (s *Shard) listenOn(ctx context.Context, retry pacer) error {
	from, err := s.listenFrom(ctx)
	if err != nil {
		return err
	}
	for f, err := range s.rt.feedback(ctx, s.n, from, math.MaxInt64, s.parts) {
		if f.Offset < 0 {
			return err
		}
		s.heardUpTo(f.Offset + 1)
		if s.isDeaf(ctx, nil); err == nil {
			s.hear(&f)
			retry.Reset()
		}
	}
	return nil
}

// listenFrom is where to listen on, if that is there: the topic may have lost its end. Another topic under its name shows when it is read.
func (s *Shard) listenFrom(ctx context.Context) (from int64, err error) {
	if from, err = s.hearing(ctx); err != nil {
		return 0, err
	}
	start, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	if err == nil && from > end {
		err = fmt.Errorf("the feedback queue of shard %d was truncated or made anew: start this process anew: %w", s.n,
			&queue.RangeError{Topic: topicFeedback, Shard: s.n, Want: from, Start: start, End: end})
	}
	if err == nil && !errors.Is(s.deafness(), queue.ErrOtherTopic) {
		s.isDeaf(ctx, nil)
	}
	return from, err
}

// isDeaf notes why the feedback can't be heard, for Health.
func (s *Shard) isDeaf(ctx context.Context, why error) {
	s.failing.Lock()
	defer s.failing.Unlock()
	if ctx.Err() == nil {
		s.deaf = why
	}
}

func (s *Shard) deafness() error {
	s.failing.Lock()
	defer s.failing.Unlock()
	return s.deaf
}

// hearAll hears what the feedback queue holds by now, and tells how many messages that were.
func (s *Shard) hearAll(ctx context.Context) (n int, err error) {
	from, err := s.hearing(ctx)
	if err != nil {
		return 0, err
	}
	_, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	for first := from; err == nil && from < end; n = int(from - first) {
		from, err = s.hearSome(ctx, from)
	}
	return n, err
}

// hearSome hears some of the messages that are there. It waits for no others: what the last of them begins may never come to its end.
func (s *Shard) hearSome(ctx context.Context, from int64) (next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	msgs, err := s.rt.queue.Read(ctx, topicFeedback, s.n, from, 1000)
	for i := range msgs {
		f, whole, wrong := s.parts.hear(s.n, &msgs[i])
		if whole && wrong == nil {
			s.hear(&f)
		}
		from = f.Offset + 1
	}
	s.heardUpTo(from)
	return from, err
}

// hearing is where to listen on: at first at the end.
func (s *Shard) hearing(ctx context.Context) (int64, error) {
	start, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	if err != nil {
		return 0, err
	}
	s.heardAll.CompareAndSwap(-1, end)
	return max(s.heardAll.Load(), start), nil
}

func (s *Shard) heardUpTo(offset int64) {
	for {
		was := s.heardAll.Load()
		if was >= offset || s.heardAll.CompareAndSwap(was, offset) {
			return
		}
	}
}

// hear tells those who wait for a command of this process that it has ended. Of an accepted command whose commit is still to come in the
// log, the log tells.
func (s *Shard) hear(f *Feedback) {
	if !s.rt.receipts.waitsFor(f.Command) {
		return
	}
	if f.Err != nil {
		f.Err.origin = &command{Envelope: Envelope{ID: f.Command}, payload: f.payload}
		s.rt.receipts.settle([]ended{{err: f.Err}})
		return
	}
	if s.agg() == nil || f.T <= s.agg().position().t {
		s.rt.receipts.settle([]ended{{commit: s.rt.commitOf(f)}})
	}
}

// commitOf makes a commit of what the feedback queue says of it.
func (rt *Runtime) commitOf(f *Feedback) *Commit {
	c := &Commit{Repeat: f.Repeat}
	c.Envelope = store.Envelope{Shard: f.Shard, T: f.T, Command: f.Command}
	c.Payload = f.payload
	for i := range f.Events {
		c.Envelope, c.Events = f.Events[i].Envelope, append(c.Events, f.Events[i].Event)
	}
	rt.types.decodeStored(c)
	if len(f.remarks) > 0 {
		_ = json.Unmarshal(f.remarks, &c.remarks)
	}
	return c
}
