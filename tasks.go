package cqrs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/coerce"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
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
	if m.payload != c.payload {
		return k.one(idConflict(c.ID))
	}
	if m.t == 0 {
		return k.one(decodeError(m.refusal))
	}
	commit := &Commit{Repeat: true, command: c}
	commit.Payload = c.payload
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
	if c.typ = k.types.commands[c.Type]; c.typ == nil {
		return nil, devError(tagCoerce, fmt.Errorf("command type %q is not named in Config.Commands", c.Type))
	}
	value, err := c.typ.plan.New(c.Data)
	if err != nil {
		return k.unfit(c, err)
	}
	c.value = value.(Command)
	return k.one(c)
}

// unfit ends a command whose data does not fit its type.
func (k *tasks) unfit(c *command, err error) ([]workflow.Segment, error) {
	faults, ok := errors.AsType[*coerce.Error](err)
	if !ok {
		return nil, devError(tagCoerce, err)
	}
	e := userError(tagValidation, "the data does not fit command type %q: %s", c.Type, faults).With("faults", faults.Faults)
	return k.one(e.of(c.ID))
}

// process is command/process: it decides.
func (k *tasks) process(ctx context.Context, _ workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*command)
	if !ok {
		return k.one(s)
	}
	d, refusal := k.decision(c)
	if refusal != nil {
		k.batch.fenced = true
		return k.one(refusal.of(c.ID))
	}
	events, err := c.value.ProcessCommand(ctx, d)
	if d.reader.err != nil {
		return nil, Retry(d.reader.err)
	}
	if err == nil {
		err = k.conflict(d)
	}
	if err != nil {
		return k.refuse(ctx, c, err)
	}
	commit, err := k.commit(c, d, events)
	if err != nil {
		return nil, err
	}
	return k.one(commit)
}

// decision roots a decision at the value that the command's consistency asks for.
func (k *tasks) decision(c *command) (*Decision, *Error) {
	b := k.batch
	if c.Basis != nil && *c.Basis > b.pos.t {
		return nil, userError(tagBasis, "the command's basis is %d, and shard %d has only come to %d: "+
			"a basis is a t that the sender has seen", *c.Basis, k.shard.n, b.pos.t)
	}
	if c.Basis != nil && *c.Basis < b.pos.horizon && c.typ.consistency != Serializable {
		return nil, userError(tagBasis, "the command's basis is t %d, and shard %d keeps history from t %d on", *c.Basis, k.shard.n, b.pos.horizon)
	}
	b.decision = Decision{reader: txReader{rowTx: &b.rows, t: b.pos.t}, cmd: &c.Envelope, segment: "0"}
	if c.typ.consistency != Serializable && c.Basis != nil {
		b.decision.reader.t = *c.Basis
	}
	if c.typ.consistency == Unchanged {
		b.decision.reader.seen = &reads{}
	}
	return &b.decision, nil
}

// conflict refuses a decision when what it read has changed since its basis.
func (k *tasks) conflict(d *Decision) error {
	if d.reader.seen == nil || d.reader.t == k.batch.pos.t {
		return nil
	}
	changes, err := d.reader.seen.changed(&k.batch.rows, d.reader.t)
	if err != nil {
		return Retry(err)
	}
	if len(changes) == 0 {
		return nil
	}
	return userError(tagConflict, "decided as of t %d, and what it read has changed since: %s %s at t %d",
		d.reader.t, changes[0].Table, changes[0].Key, changes[0].T).With("changes", changes)
}

// refuse ends a command with an error of its own. A refusal is marked, so that the same command is never accepted later.
func (k *tasks) refuse(ctx context.Context, c *command, err error) ([]workflow.Segment, error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil, Retry(err) // the runtime stops: the command's turn comes again
	}
	e := asError(err, tagProcess).of(c.ID)
	if e.Level != User {
		return nil, e
	}
	m := mark{payload: c.payload, refusal: e.encode()}
	if err := k.batch.setMark(c.ID[:], &m); err != nil {
		return nil, Retry(err)
	}
	if k.logged {
		r := refusal{command: c.ID, payload: c.payload, prev: k.batch.pos.digest, err: m.refusal}
		k.batch.toLog(r.message(c.Time.UnixMilli()))
	}
	return k.one(e)
}

// commit makes one record of all events.
func (k *tasks) commit(c *command, d *Decision, events []Event) (*Commit, error) {
	room := &commitRoom{digest: k.batch.pos.digest}
	commit := &room.commit
	commit.Values, commit.command, commit.remarks = events, c, d.remarks
	basis := d.reader.t
	if c.Basis != nil {
		basis = *c.Basis
	}
	commit.Record = store.Record{
		Envelope: store.Envelope{
			Shard: k.shard.n, Command: c.ID, CommandType: c.Type, Key: c.Key,
			Time: c.Time.UnixMilli(), Basis: basis, Code: k.shard.rt.cfg.Code,
		},
		Payload: c.payload, Trace: c.Trace, Events: room.eventsFor(len(events)),
	}
	if c.typ.consistency != AsOfBasis || c.Basis == nil {
		commit.Prev = room.digest[:]
	}
	if len(d.remarks) > 0 {
		commit.Remarks = encodeRemarks(d.remarks)
	}
	return commit, k.encodeEvents(commit, d)
}

// commitRoom is a commit together with what it mostly needs, so that it takes one piece of memory.
type commitRoom struct {
	commit Commit
	digest Digest
	event  [1]store.Event
}

func (r *commitRoom) eventsFor(n int) []store.Event {
	if n <= len(r.event) {
		return r.event[:n]
	}
	return make([]store.Event, n)
}

func (k *tasks) encodeEvents(c *Commit, d *Decision) error {
	exact := true
	for i, value := range c.Values {
		t, err := k.types.eventOf(value)
		if err != nil {
			return devError(tagProcess, err)
		}
		data, same, err := t.encode(value)
		if err != nil {
			return devError(tagProcess, err)
		}
		if limit := k.shard.rt.store.Limit(); limit > 0 && len(data) > limit {
			return devError(tagTooLarge, fmt.Errorf("event %s has %d bytes, and the store's limit is %d", t.name, len(data), limit))
		}
		exact = exact && same
		c.Events[i] = store.Event{ID: EventID(c.Command, i, d.segment), Index: i, Segment: d.segment, Type: t.name, Data: data}
	}
	if !exact {
		return k.types.decodeEvents(c)
	}
	return nil
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
	if limit := k.shard.rt.queue.Limit() - k.room; len(c.bytes) > limit {
		return nil, devError(tagTooLarge, fmt.Errorf("the command's events have %d bytes together, and the queue's limit is %d",
			len(c.bytes), limit))
	}
	if c.Prev != nil && Digest(c.Prev) != b.pos.digest {
		return nil, nil // void: somebody else's commit came first
	}
	b.advance(c)
	b.done = append(b.done, ended{commit: c})
	offset := int64(-1)
	if k.logged {
		offset = b.toLog(commitMessage(c))
	}
	if err := b.markAccepted(c, offset); err != nil {
		return nil, Retry(err)
	}
	return k.one(c)
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
