package cqrs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// SendOption changes the envelope of a command that is sent.
type SendOption func(*Envelope)

// WithID gives the command an id of the caller's. Sending the same command again under the same id has no second effect.
func WithID(id uuid.UUID) SendOption { return func(e *Envelope) { e.ID = id } }

// WithKey says which commands stay in order with this one, and choose its shard.
func WithKey(key string) SendOption { return func(e *Envelope) { e.Key = key } }

// WithTime gives the command another time than now.
func WithTime(t time.Time) SendOption { return func(e *Envelope) { e.Time = t } }

// WithBasis roots the command at a t that the caller has seen, instead of the newest.
func WithBasis(t uint64) SendOption { return func(e *Envelope) { e.Basis = &t } }

// Send puts a command into the queue. When it returns nil the command is durable, and will end exactly once: with its commit accepted, refused by
// an error of level user, or in the dead letters. The Receipt tells which.
//
// After an error that wraps ErrUnknown the command may have been kept; after any other it was not. In both cases sending it
// again with the same id (WithID) is safe.
func (rt *Runtime) Send(ctx context.Context, c Command, options ...SendOption) (*Receipt, error) {
	s := sendings.Get().(*sending)
	if err := s.envelope[0].fill(c, options); err != nil {
		return nil, err
	}
	s.receipt[0] = new(Receipt)
	receipt, err := s.receipt[0], rt.submit(ctx, s.envelope[:], s.receipt[:], s.message[:])
	if err != nil {
		return nil, err // the queue may still hold the message
	}
	*s = sending{}
	sendings.Put(s)
	return receipt, nil
}

// sending is what a Send needs until it returns.
type sending struct {
	envelope [1]Envelope
	receipt  [1]*Receipt
	message  [1]queue.Message
}

var sendings = sync.Pool{New: func() any { return new(sending) }}

// Submit sends commands that are envelopes already, such as those that another program wrote. What is empty is filled in: ID, Time,
// Basis and Code. Commands of one shard keep their order, and arrive all or none. When it fails, sending all of them again
// is safe if they had their ids.
func (rt *Runtime) Submit(ctx context.Context, envelopes ...Envelope) ([]*Receipt, error) {
	own, receipts := make([]Receipt, len(envelopes)), make([]*Receipt, len(envelopes))
	for i := range own {
		receipts[i] = &own[i]
	}
	err := rt.submit(ctx, slices.Clone(envelopes), receipts, make([]queue.Message, len(envelopes)))
	if err != nil {
		return nil, err
	}
	return receipts, nil
}

// submit sends envelopes, which it completes. It fills in their receipts and messages.
func (rt *Runtime) submit(ctx context.Context, envelopes []Envelope, receipts []*Receipt, msgs []queue.Message) error {
	scratch, now := make([]byte, 0, 512), rt.cfg.Now().UnixMilli()
	for i := range envelopes {
		e := &envelopes[i]
		if err := rt.complete(e); err != nil {
			return err
		}
		if err := e.check(rt.cfg.MaxCommand); err != nil {
			return fmt.Errorf("cqrs: %w", err)
		}
		msgs[i] = e.encode()
		msgs[i].Time = now // retention begins with the sending, however old what is told may be
		*receipts[i] = Receipt{rt: rt, ID: e.ID, Shard: rt.shardFor(e)}
		receipts[i].payload, scratch = payloadDigest(e, scratch)
	}
	return rt.append(ctx, receipts, msgs)
}

// complete fills in what the caller left open.
func (rt *Runtime) complete(e *Envelope) (err error) {
	if e.ID == (uuid.UUID{}) {
		if e.ID, err = rt.cfg.NewID(); err != nil {
			return fmt.Errorf("cqrs: no id for a command: %w", err)
		}
	}
	if e.Time.IsZero() {
		e.Time = rt.cfg.Now()
	}
	if agg := rt.shards[rt.shardFor(e)].agg(); e.Basis == nil && agg != nil {
		e.Basis = &agg.at.Load().t
	}
	if e.Code == "" {
		e.Code = rt.cfg.Code
	}
	return nil
}

func (rt *Runtime) shardFor(e *Envelope) int {
	if e.Key == "" {
		return rt.ShardOf(string(e.ID[:]))
	}
	return rt.ShardOf(e.Key)
}

// append sends the messages, those of one shard together.
func (rt *Runtime) append(ctx context.Context, receipts []*Receipt, msgs []queue.Message) error {
	if len(rt.shards) == 1 {
		return rt.appendTo(ctx, 0, receipts, msgs)
	}
	var errs error
	for n := range rt.shards {
		var mine []queue.Message
		var theirs []*Receipt
		for i, r := range receipts {
			if r.Shard == n {
				mine, theirs = append(mine, msgs[i]), append(theirs, r)
			}
		}
		if len(mine) > 0 {
			errs = errors.Join(errs, rt.appendTo(ctx, n, theirs, mine))
		}
	}
	return errs
}

func (rt *Runtime) appendTo(ctx context.Context, shard int, receipts []*Receipt, msgs []queue.Message) error {
	err := rt.expect(ctx, shard, receipts)
	if err == nil {
		err = rt.queue.Append(ctx, topicCommands, shard, msgs)
	}
	if mutant.Is("send of unknown outcome taken for sent") && errors.Is(err, queue.ErrUnknown) {
		err = nil
	}
	if err == nil {
		return nil
	}
	rt.receipts.forget(receipts)
	return fmt.Errorf("cqrs: send %s to shard %d: %w", describe(receipts), shard, sendError(err))
}

// expect makes sure that the receipts will find how their commands end.
func (rt *Runtime) expect(ctx context.Context, shard int, receipts []*Receipt) error {
	if s := rt.shards[shard]; s.served != nil {
		for _, r := range receipts {
			r.from.Store(max(s.heardAll.Load(), 0))
		}
	}
	followed, err := rt.receipts.expect(receipts)
	if err != nil || followed == len(receipts) {
		return err
	}
	_, end, err := rt.queue.Bounds(ctx, topicFeedback, shard)
	for _, r := range receipts[followed:] {
		r.from.Store(end)
	}
	return err
}

func describe(receipts []*Receipt) string {
	if len(receipts) == 1 {
		return "command " + receipts[0].ID.String()
	}
	return fmt.Sprintf("%d commands, the first of them %s,", len(receipts), receipts[0].ID)
}

func sendError(err error) error {
	if errors.Is(err, queue.ErrUnknown) {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return readError(err)
}

// Receipt stands for a command that was sent.
type Receipt struct {
	ID    uuid.UUID
	Shard int

	rt      *Runtime
	payload [16]byte      // other commands may have been sent under the same id
	done    chan struct{} // closed when the command has ended; nil when the receipt is not followed
	end     ended
	lost    bool         // the end could not be learned
	unheard bool         // what told of it may have been dropped
	next    *Receipt     // of another Send of the same id
	from    atomic.Int64 // where to search the feedback queue: it ended there before the command was sent, or does not tell of it before
}

// Outcome is how an accepted command ended.
type Outcome struct {
	Command uuid.UUID
	Shard   int
	T       uint64     // the view at this t, and every later one, shows the effect
	Events  []Recorded // none is an outcome too
	Remarks []*Error   // what the decision told beside the events, and folds that failed
	Repeat  bool       // the command had been accepted before, at T; sending it again changed nothing
}

// Wait waits for the command's end; several goroutines may. It gives the outcome of an accepted command, a *Error of one that was refused or
// went to the dead letters, or ctx's error.
func (r *Receipt) Wait(ctx context.Context) (Outcome, error) {
	if r.done == nil {
		return r.search(ctx)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return Outcome{}, r.unended(ctx.Err())
	}
	switch {
	case r.lost:
		return r.search(ctx)
	case r.end.err != nil:
		return Outcome{}, r.end.err
	case r.end.commit == nil:
		return Outcome{}, ErrClosed
	case r.end.commit.Repeat:
		return r.rt.repeated(ctx, r.end.commit)
	}
	return outcomeOf(r.end.commit), nil
}

// unended says that the wait is over and the command is not, and why, if nobody can work on it now.
func (r *Receipt) unended(err error) error {
	if r.rt.idle() {
		return fmt.Errorf("cqrs: command %s has not ended yet, and Run, which does the work, is not running: %w", r.ID, err)
	}
	return fmt.Errorf("cqrs: command %s has not ended yet: %w", r.ID, err)
}

// repeated reads the outcome of a command that was accepted before. A Sender without a store only knows its t.
func (rt *Runtime) repeated(ctx context.Context, c *Commit) (Outcome, error) {
	if rt.store == nil || len(c.Events) > 0 {
		return outcomeOf(c), nil
	}
	return rt.outcome(ctx, c.Shard, c.Command, true)
}

func outcomeOf(c *Commit) Outcome {
	out := Outcome{Command: c.Command, Shard: c.Shard, T: c.T, Remarks: c.remarks, Repeat: c.Repeat}
	out.Events = make([]Recorded, len(c.Events))
	for i := range c.Events {
		out.Events[i] = c.recorded(i)
	}
	return out
}

// outcome reads the outcome of an accepted command from the store.
func (rt *Runtime) outcome(ctx context.Context, shard int, id uuid.UUID, repeat bool) (Outcome, error) {
	record, err := rt.archived(ctx, id)
	if err != nil {
		return Outcome{}, fmt.Errorf("cqrs: command %s was accepted, and its commit can't be read: %w", id, readError(err))
	}
	c := &Commit{Record: record, Repeat: repeat}
	if err := rt.types.decodeEvents(c); err != nil {
		return Outcome{}, err
	}
	if len(record.Remarks) > 0 {
		_ = json.Unmarshal(record.Remarks, &c.remarks) // remarks of another version of the code may be lost
	}
	return outcomeOf(c), nil
}

// archived reads an accepted commit. A replica may be ahead of the store, which the shard's owner fills: then it waits.
func (rt *Runtime) archived(ctx context.Context, id uuid.UUID) (store.Record, error) {
	retry := newBackoff()
	for {
		record, err := rt.store.Commit(ctx, id)
		if rt.embedded != nil || !errors.Is(err, store.ErrNotFound) || ctx.Err() != nil {
			return record, err
		}
		sleep(ctx, retry.NextBackOff())
	}
}

// search finds the end of a command in the files: of one that is not followed in memory.
func (r *Receipt) search(ctx context.Context) (Outcome, error) {
	shard := r.rt.shards[r.Shard]
	if shard.served != nil {
		return r.searchQueue(ctx, shard)
	}
	for {
		moved, shut := shard.watch()
		f, found, err := r.look(ctx)
		switch {
		case err != nil:
			return Outcome{}, err
		case found && f.Err != nil:
			return Outcome{}, f.Err
		case found:
			return r.found(ctx)
		case shut:
			return Outcome{}, ErrClosed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return Outcome{}, r.unended(ctx.Err())
		}
	}
}

// searchQueue finds the end of a command in a feedback queue of its own, unless the marks know it.
func (r *Receipt) searchQueue(ctx context.Context, s *Shard) (Outcome, error) {
	if s.agg() != nil {
		if out, known, err := r.searchMarks(ctx, s); known || err != nil {
			return out, err
		}
	}
	ctx, cancel := r.rt.whileOpen(ctx)
	defer cancel(nil)
	end, err := r.searchTo(ctx, s)
	if err != nil {
		return Outcome{}, readError(err)
	}
	heard := parts{}
	for f, err := range r.rt.feedback(ctx, r.Shard, r.from.Load(), end, heard) {
		switch {
		case err != nil && ctx.Err() != nil:
			return Outcome{}, r.unended(context.Cause(ctx))
		case err != nil && f.Offset < 0:
			if _, gone := errors.AsType[*queue.RangeError](err); !gone {
				return Outcome{}, err
			}
			return r.untold(ctx, err)
		case err != nil || !f.tells(r):
			if heard[r.ID] == nil { // else another Wait would miss its first events
				r.from.Store(f.Offset + 1)
			}
		case f.Err != nil:
			return Outcome{}, f.Err
		default:
			return r.told(ctx, s, &f)
		}
	}
	return r.untold(ctx, errors.New("this process came to hear it too late"))
}

func (r *Receipt) searchMarks(ctx context.Context, s *Shard) (out Outcome, known bool, err error) {
	m, found, err := s.agg().ended(r.ID)
	if err != nil || !found {
		return out, false, err
	}
	if marked := r.marked(m); marked != nil {
		return out, true, marked
	}
	out, err = r.found(ctx)
	return out, true, err
}

// searchTo is where to stop: where it may have been told of and dropped, and there are no marks, what is there is all that there will be.
func (r *Receipt) searchTo(ctx context.Context, s *Shard) (end int64, err error) {
	if end = math.MaxInt64; r.unheard && s.agg() == nil {
		_, end, err = r.rt.queue.Bounds(ctx, topicFeedback, r.Shard)
	}
	return end, err
}

// untold is for a command of whose end the feedback queue holds nothing any more. The store has it if it was accepted.
func (r *Receipt) untold(ctx context.Context, err error) (Outcome, error) {
	if r.rt.store != nil {
		if c, wrong := r.rt.store.Commit(ctx, r.ID); wrong == nil && c.Payload == r.payload {
			return r.rt.outcome(ctx, r.Shard, r.ID, false)
		}
	}
	return Outcome{}, fmt.Errorf("cqrs: the feedback queue has dropped what it may have told of command %s: "+
		"send it again under the same id to hear how it ended: %w", r.ID, err)
}

// told gives the outcome that the feedback tells, once views show it.
func (r *Receipt) told(ctx context.Context, s *Shard, f *Feedback) (Outcome, error) {
	if s.agg() != nil {
		if _, err := s.AtLeast(ctx, f.T); err != nil {
			return Outcome{}, err
		}
	}
	if r.rt.store != nil {
		return r.rt.outcome(ctx, r.Shard, r.ID, f.Repeat)
	}
	return outcomeOf(r.rt.commitOf(f)), nil
}

// whileOpen gives a context that ends with ctx, and when the runtime is closed.
func (rt *Runtime) whileOpen(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(rt.life, func() { cancel(ErrClosed) })
	return ctx, func(err error) { stop(); cancel(err) }
}

// found gives the outcome of an accepted command once views show it: the files are ahead of them by a moment, or, after a commit
// whose outcome was unknown, until the next batch.
func (r *Receipt) found(ctx context.Context) (Outcome, error) {
	out, err := r.rt.outcome(ctx, r.Shard, r.ID, false)
	if err == nil {
		_, err = r.rt.shards[r.Shard].AtLeast(ctx, out.T)
	}
	return out, err
}

// look asks the marks, which know accepted and refused commands, and then what is new in the feedback queue, which knows all.
func (r *Receipt) look(ctx context.Context) (f Feedback, found bool, err error) {
	m, found, err := r.rt.shards[r.Shard].agg().ended(r.ID)
	if err != nil || found {
		if found {
			f.Err = r.marked(m)
		}
		return f, found, err
	}
	start, end, err := r.rt.queue.Bounds(ctx, topicFeedback, r.Shard)
	from := max(r.from.Load(), start)
	if err != nil || from >= end {
		return f, false, readError(err)
	}
	for f, err := range r.rt.Feedback(ctx, r.Shard, from) {
		if err != nil || f.tells(r) {
			return f, err == nil, err
		}
		if r.from.Store(f.Offset + 1); f.Offset+1 >= end {
			break
		}
	}
	return f, false, nil
}

// marked is the error that a mark stands for; nil when the command was accepted.
func (r *Receipt) marked(m mark) *Error {
	switch {
	case m.payload != r.payload:
		return idConflict(r.ID)
	case m.t == 0:
		return decodeError(m.refusal)
	}
	return nil
}

func idConflict(id uuid.UUID) *Error {
	return userError(tagIDConflict, "the id belongs to another command, with another type, key or data: "+
		"the first one counts, and this one needs an id of its own").of(id)
}

var errNoStore = errors.New("cqrs: this process has no event store: its Role is Sender, and Config.Store is nil")

// Events gives stored events, decoded, by type and time.
func (rt *Runtime) Events(ctx context.Context, q store.Query) func(yield func(Recorded, error) bool) {
	return func(yield func(Recorded, error) bool) {
		if rt.store == nil {
			yield(Recorded{}, errNoStore)
			return
		}
		for entry, err := range rt.store.Query(ctx, q) {
			r := Recorded{Entry: entry}
			if t := rt.types.events[entry.Type]; t != nil && err == nil {
				r.Value, err = t.decode(entry.Data)
			}
			if !yield(r, readError(err)) {
				return
			}
		}
	}
}
