package cqrs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
)

// command is the segment from command/in-queue to command/process.
type command struct {
	Envelope
	message queue.Message // as it came from the queue
	typ     *commandType
	value   Command
	payload [16]byte
}

// tasks are the functions of the default workflow, for one shard. They run in the shard's batch, one after another.
type tasks struct {
	shard  *Shard
	batch  *batch
	types  *registry
	logged bool                // commits and refusals go to an event queue of its own
	room   int                 // what a commit leaves of the queue's limit, for what is written beside it
	out    [1]workflow.Segment // what a task returns; the engine is done with it before the same task runs again
}

func (k *tasks) one(s workflow.Segment) ([]workflow.Segment, error) {
	k.out[0] = s
	return k.out[:], nil
}

// take is command/in-queue: it reads the envelope, and finds out whether the command has come before.
func (k *tasks) take(_ context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*command)
	if !ok {
		return k.one(s)
	}
	if err := readCommand(&c.message, &c.Envelope, k.types.names); err != nil {
		return nil, devError(tagEnvelope, err)
	}
	c.payload = k.batch.payloadDigest(&c.Envelope)
	m, found, err := k.batch.rows.ended(c.ID[:])
	if err != nil {
		return nil, Retry(err)
	}
	if !found {
		return k.one(c)
	}
	return k.repeated(c, m)
}

// repeated answers a command that came before as it was answered then.
func (k *tasks) repeated(c *command, m mark) ([]workflow.Segment, error) {
	if m.payload != c.payload && !mutant.Is("id conflict unchecked") {
		return k.one(idConflict(c.ID))
	}
	if m.t == 0 {
		return k.one(decodeError(m.refusal))
	}
	commit := &Commit{Repeat: true, command: c}
	if !mutant.Is("repeat without its payload") {
		commit.Payload = c.payload
	}
	commit.Envelope = store.Envelope{
		Shard: k.shard.n, T: m.t, Command: c.ID, CommandType: c.Type, Key: c.Key, Time: c.Time.UnixMilli(), Code: c.Code,
	}
	k.batch.done = append(k.batch.done, ended{commit: commit})
	return k.one(commit)
}

// coerce is command/coerce: from JSON to the command's Go type.
func (k *tasks) coerce(_ context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*command)
	if !ok {
		return k.one(s)
	}
	decider := k.shard.decider()
	if e := decider.coerce(c); e != nil && e.Level == User {
		return k.one(e.of(c.ID))
	} else if e != nil {
		return nil, e
	}
	return k.one(c)
}

// process is command/process: it decides.
func (k *tasks) process(ctx context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*command)
	if !ok {
		return k.one(s)
	}
	b, decider := k.batch, k.shard.decider()
	if k.logged {
		decider.settled = b.found.t
	}
	b.decision = Decision{reader: txReader{rowTx: &b.rows}}
	if refusal := decider.root(&b.decision, c, &b.pos); refusal != nil {
		b.fenced = true
		return k.one(refusal.of(c.ID))
	}
	commit, err := decider.decide(ctx, c, &b.decision, &b.pos)
	if err != nil {
		return k.refuse(ctx, c, err)
	}
	return k.one(commit)
}

// refuse ends a command with an error of its own. A refusal is marked, so that the same command is never accepted later.
func (k *tasks) refuse(ctx context.Context, c *command, err error) ([]workflow.Segment, error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil, Retry(err) // the runtime stops: the command's turn comes again
	}
	e := asError(err, tagProcess).of(c.ID)
	if e.Level == System && k.batch.decision.reader.err == nil { // the decision asks for it, and not a file that can't be read
		e = k.shard.tried(e)
	}
	if e.Level != User {
		return nil, e
	}
	m := mark{payload: c.payload, refusal: e.encode(), turn: k.batch.pos.t + 1}
	if k.logged {
		m.place = k.batch.pos.offset + 1
	}
	if mutant.Is("refusal neither marked nor logged") {
		return k.one(e)
	}
	if err := k.batch.setMark(c.ID[:], &m); err != nil {
		return nil, Retry(err)
	}
	if k.logged && !mutant.Is("refusal not in the log") {
		r := refusal{command: c.ID, payload: c.payload, prev: k.batch.pos.digest, err: m.refusal}
		k.batch.toLog(r.message())
	}
	return k.one(e)
}

// tries counts how often the command was tried that asks to be tried again. There is only one: those behind it wait.
type tries struct {
	command uuid.UUID
	count   int
}

// tried gives a command up when Config.MaxRetries is used up.
func (s *Shard) tried(e *Error) *Error {
	limit := s.rt.cfg.MaxRetries
	if s.tries.command != e.Command {
		s.tries = tries{command: e.Command}
	}
	if s.tries.count++; limit == 0 || s.tries.count <= limit {
		return e
	}
	c := *e
	c.gaveUp, c.Message = true, fmt.Sprintf("%s (given up: it was tried again %d times)", e.Message, limit)
	s.tries = tries{}
	return &c
}

// accept is event/in-queue: the rule of acceptance. It is a pure function of the log: which commits have been accepted
// before, and their running digest.
func (k *tasks) accept(_ context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*Commit)
	if !ok || c.Repeat || c.T > 0 {
		return k.one(s)
	}
	b := k.batch
	c.bytes = c.Record.Append(b.rows.arena.take(256 + c.size()))
	if err := k.fits(c); err != nil {
		return nil, devError(tagTooLarge, err)
	}
	if c.Prev != nil && Digest(c.Prev) != b.pos.digest {
		return nil, nil // void: somebody else's commit came first
	}
	b.advance(c)
	b.done = append(b.done, ended{commit: c})
	offset := int64(-1)
	if k.logged {
		offset = b.toLog(commitMessage(c, k.shard.knows))
	}
	if err := b.markAccepted(c, offset); err != nil {
		return nil, Retry(err)
	}
	return k.one(c)
}

// fits refuses a commit that the log or the store would not take: once it is in the log, all would have to wait for the store.
func (k *tasks) fits(c *Commit) error {
	if limit := k.shard.rt.queue.Limit() - k.room; len(c.bytes) > limit {
		return fmt.Errorf("the command's events have %d bytes together, and the queue's limit is %d", len(c.bytes), limit)
	}
	if s, ok := k.shard.rt.store.(store.Checker); ok {
		return s.Check(&c.Record)
	}
	return nil
}

// size is about what the events take.
func (c *Commit) size() (n int) {
	for i := range c.Events {
		n += len(c.Events[i].Data) + 32
	}
	return n + len(c.Key) + len(c.CommandType) + len(c.Code) + len(c.Remarks)
}

// aggregate is event/aggregator: it folds each event once. A fold that fails leaves nothing behind.
func (k *tasks) aggregate(ctx context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*Commit)
	if !ok || c.Repeat || c.T <= k.batch.savedPos.t {
		return k.one(s)
	}
	out := k.out[:1]
	out[0] = c
	for _, err := range k.batch.foldCommit(ctx, c) {
		out = append(out, err)
		c.remarks = append(c.remarks, err)
	}
	return out, nil
}
