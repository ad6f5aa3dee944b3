package cqrs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Supposed is what View.With takes as having happened: IfSent or IfHappened make it.
type Supposed struct {
	command Command
	options []SendOption
	events  []Event
}

// IfSent supposes that a command is sent. The options are those of Send.
func IfSent(c Command, options ...SendOption) Supposed { return Supposed{command: c, options: options} }

// IfHappened supposes that events happen, together, as one commit.
func IfHappened(events ...Event) Supposed { return Supposed{events: events} }

func (s *Supposed) String() string {
	switch {
	case s.command != nil:
		return "command " + s.command.CommandType()
	case len(s.events) > 0 && s.events[0] != nil:
		return "event " + s.events[0].EventType()
	}
	return "nothing"
}

// With gives the value that the view's aggregate would have if all this happened next, one after another, and how each would end. It is
// worked out in memory by the program's own commands and folds, and never kept: nothing is sent, stored or told, and the runtime's work is
// not held up. All tables, indexes and ranges can be read through the value, Diff compares it with others, and With can go on from it. It
// holds no resources; it can be read as long as the t of the view can.
//
// Commands are coerced, validated and decided as Send would have it, at their key's shard, which must be the view's; one with the id of a
// command that was accepted before is a Repeat. The first command that would be refused, and the first fold that would fail, end With: the
// error wraps the *Error, and says which one it is. Only the shard's own aggregate, which commands read, takes commands; that of
// Config.Aggregates takes events.
func (v View) With(ctx context.Context, supposed ...Supposed) (View, []Outcome, error) {
	s, err := v.speculate()
	if err != nil {
		return View{}, nil, err
	}
	outcomes := make([]Outcome, 0, len(supposed))
	for i := range supposed {
		out, err := s.suppose(ctx, &supposed[i])
		if err != nil {
			return View{}, nil, fmt.Errorf("cqrs: With: supposition %d of %d, %s: %w", i+1, len(supposed), &supposed[i], err)
		}
		outcomes = append(outcomes, out)
	}
	return View{v.agg, s.batch.pos.t, s.over}, outcomes, nil
}

// supposedEnd is how a command that is supposed has ended.
type supposedEnd struct {
	payload [16]byte
	outcome Outcome
}

// speculation decides and folds over an overlay. It runs the tasks of a shard on a batch that has no transaction.
type speculation struct {
	tasks tasks
	batch batch
	over  *overlay
}

func (v View) speculate() (*speculation, error) {
	if v.agg == nil {
		return nil, errors.New("cqrs: a View that no Runtime made")
	}
	p := v.agg.position()
	if err := p.canRead(v.base(), v.agg.shard); err != nil {
		return nil, err
	}
	s := &speculation{over: &overlay{base: v.t}}
	if v.over != nil {
		s.over = v.over
	}
	s.over = s.over.clone()
	shard := v.agg.rt.shards[v.agg.shard]
	s.batch.shard, s.batch.work = shard, newWork(v.agg.rt, v.agg)
	s.batch.pos.t, s.batch.pos.horizon = v.t, p.horizon
	s.batch.rows.agg, s.batch.rows.over = v.agg, s.over
	s.tasks = tasks{shard: shard, batch: &s.batch, types: v.agg.rt.types}
	return s, nil
}

func (s *speculation) suppose(ctx context.Context, what *Supposed) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	if what.command == nil && len(what.events) == 0 {
		return Outcome{}, errors.New("it names neither a command nor an event")
	}
	if what.command == nil {
		c, err := s.happen(what.events)
		if err != nil {
			return Outcome{}, err
		}
		return s.fold(ctx, c)
	}
	if !s.batch.agg.main {
		return Outcome{}, errors.New("commands do not read this aggregate: suppose it through a View of the shard")
	}
	return s.send(ctx, what)
}

// happen makes a commit of events.
func (s *speculation) happen(events []Event) (*Commit, error) {
	rt := s.batch.agg.rt
	id, err := rt.cfg.NewID()
	if err != nil {
		return nil, err
	}
	c := &Commit{Values: events}
	c.Envelope = store.Envelope{
		Shard: s.batch.agg.shard, Command: id, Time: rt.cfg.Now().UnixMilli(), Basis: s.batch.pos.t, Code: rt.cfg.Code,
	}
	c.Events = make([]store.Event, len(events))
	decider := s.tasks.shard.decider()
	return c, decider.encodeEvents(c, &Decision{segment: "0"})
}

func (s *speculation) send(ctx context.Context, what *Supposed) (Outcome, error) {
	c, own, err := s.envelope(what)
	if err != nil {
		return Outcome{}, err
	}
	if own {
		if out, found, err := s.repeated(ctx, c); found || err != nil {
			return out, err
		}
	}
	commit, err := s.decide(ctx, c)
	if err != nil {
		return Outcome{}, err
	}
	out, err := s.fold(ctx, commit)
	if err == nil {
		s.end(c, out)
	}
	return out, err
}

func (s *speculation) end(c *command, out Outcome) {
	if s.over.ended == nil {
		s.over.ended = map[uuid.UUID]supposedEnd{}
	}
	s.over.ended[c.ID] = supposedEnd{c.payload, out}
}

// envelope does what Send does. own tells that the caller chose the id.
func (s *speculation) envelope(what *Supposed) (c *command, own bool, err error) {
	rt := s.batch.agg.rt
	var e Envelope
	if err := e.fill(what.command, what.options); err != nil {
		return nil, false, err
	}
	own = e.ID != uuid.UUID{}
	if e.Basis == nil {
		e.Basis = new(s.batch.pos.t)
	}
	if err := errors.Join(rt.complete(&e), e.check(rt.cfg.MaxCommand)); err != nil {
		return nil, own, err
	}
	e.Time = time.UnixMilli(e.Time.UnixMilli()).UTC() // as it travels
	if n := rt.shardFor(&e); n != s.tasks.shard.n && (own || e.Key != "") {
		return nil, own, fmt.Errorf("its key %q goes to shard %d, and the view is of shard %d", e.Key, n, s.tasks.shard.n)
	}
	c = &command{Envelope: e}
	c.payload, _ = payloadDigest(&e, nil)
	return c, own, nil
}

// fill makes e the envelope of a command, with nothing in it but what the caller said.
func (e *Envelope) fill(c Command, options []SendOption) error {
	if c == nil {
		return errors.New("cqrs: the command to send is nil")
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("cqrs: command %s can't be encoded: %w", c.CommandType(), err)
	}
	if string(data) == "null" { // its methods may not bear it
		return fmt.Errorf("cqrs: the command to send is a nil %T", c)
	}
	e.Type, e.Data = c.CommandType(), data
	if keyed, ok := c.(interface{ CommandKey() string }); ok {
		e.Key = keyed.CommandKey()
	}
	for _, option := range options {
		option(e)
	}
	return nil
}

// repeated finds how the command ended before. (One that was accepted after the view's t has not ended yet.)
func (s *speculation) repeated(ctx context.Context, c *command) (out Outcome, found bool, err error) {
	if e, ok := s.over.ended[c.ID]; ok {
		e.outcome.Repeat = true
		if e.payload != c.payload {
			return out, true, idConflict(c.ID)
		}
		return e.outcome, true, nil
	}
	m, found, err := s.batch.agg.ended(c.ID)
	if err != nil || !found || m.t > s.over.base {
		return out, false, err
	}
	if err := (&Receipt{ID: c.ID, payload: c.payload}).marked(m); err != nil {
		return out, true, err
	}
	out, err = s.batch.agg.rt.outcome(ctx, s.tasks.shard.n, c.ID, true)
	return out, true, err
}

// decide coerces a command and decides it.
func (s *speculation) decide(ctx context.Context, c *command) (commit *Commit, err error) {
	decider := s.tasks.shard.decider()
	if e := decider.coerce(c); e != nil {
		return nil, e.of(c.ID)
	}
	d := Decision{reader: txReader{rowTx: &s.batch.rows}}
	if refusal := decider.root(&d, c, &s.batch.pos); refusal != nil {
		return nil, refusal.of(c.ID)
	}
	commit, err = decider.decideSafely(ctx, c, &d, &s.batch.pos)
	if d.reader.err != nil {
		return nil, d.reader.err
	}
	if err != nil {
		return nil, asError(err, tagProcess).of(c.ID)
	}
	return commit, nil
}

// fold accepts a commit, and folds its events.
func (s *speculation) fold(ctx context.Context, c *Commit) (Outcome, error) {
	if n, limit := len(c.Record.Append(nil)), s.batch.agg.rt.queue.Limit(); n > limit {
		return Outcome{}, devError(tagTooLarge, fmt.Errorf("the events have %d bytes together, and the queue's limit is %d", n, limit)).of(c.Command)
	}
	s.batch.pos.t++
	c.T = s.batch.pos.t
	for i := range c.Events {
		var tx Tx
		tx.begins(&s.batch.rows, c, i)
		if err := fold(context.WithoutCancel(ctx), s.batch.agg.fold, &tx, c.Values[i]); err != nil {
			return Outcome{}, foldError(c, failedFoldOf(c, i), err)
		}
	}
	return outcomeOf(c), nil
}
