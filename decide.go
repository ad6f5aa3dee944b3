package cqrs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/cqrs-server/cqrs/internal/coerce"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/store"
)

// decider decides commands of one shard. What stands here is all that a commit depends on: the shard's batch decides by it, and so
// does who decides a past command again to see whether the same comes out.
type decider struct {
	types *registry
	shard int
	code  string // of this program
	limit int    // bytes of an event's payload that the store takes; 0: no limit

	// settled is the t up to which the value is that of the log, whatever becomes of the batch. What is decided as of a later basis rests
	// on the batch's own commits, and holds only if they do.
	settled uint64
}

func (s *Shard) decider() decider {
	return decider{types: s.rt.types, shard: s.n, code: s.rt.cfg.Code, limit: s.rt.store.Limit(), settled: math.MaxUint64}
}

// coerce makes the command's Go value of its data. The error is one of level user when the data does not fit the type.
func (k *decider) coerce(c *command) *Error {
	if c.typ = k.types.commands[c.Type]; c.typ == nil {
		return devError(tagCoerce, fmt.Errorf("command type %q is not named in Config.Commands%s", c.Type, k.types.spelled(c.Type)))
	}
	value, err := c.typ.plan.New(c.Data)
	if err != nil {
		return unfit(c, err)
	}
	c.value = value.(Command)
	return nil
}

// unfit is the error of a command whose data does not fit its type.
func unfit(c *command, err error) *Error {
	faults, ok := errors.AsType[*coerce.Error](err)
	if !ok {
		return devError(tagCoerce, err)
	}
	return userError(tagValidation, "the data does not fit command type %q: %s", c.Type, faults).With("faults", faults.Faults)
}

// root roots a decision at the value that the command's consistency asks for. p is where the shard stands.
func (k *decider) root(d *Decision, c *command, p *position) *Error {
	if c.Basis != nil && *c.Basis > p.t {
		return userError(tagBasis, "the command's basis is %d, and shard %d has only come to %d: "+
			"a basis is a t that the sender has seen", *c.Basis, k.shard, p.t)
	}
	if c.Basis != nil && *c.Basis < p.horizon && c.typ.consistency != Serializable {
		return userError(tagBasis, "the command's basis is t %d, and shard %d keeps history from t %d on", *c.Basis, k.shard, p.horizon)
	}
	d.cmd, d.segment, d.reader.t = &c.Envelope, "0", p.t
	if c.typ.consistency != Serializable && c.Basis != nil && !mutant.Is("basis not honoured") {
		d.reader.t = *c.Basis
	}
	if c.typ.consistency == Unchanged {
		d.reader.seen = &reads{}
	}
	return nil
}

// decide calls ProcessCommand, and makes one record of all events.
func (k *decider) decide(ctx context.Context, c *command, d *Decision, p *position) (*Commit, error) {
	events, err := c.value.ProcessCommand(ctx, d)
	if d.reader.err != nil {
		return nil, unread(d.reader.err)
	}
	if err == nil {
		err = d.conflict(p.t)
	}
	if err != nil {
		return nil, err
	}
	return k.commit(c, d, events, p)
}

// unread is the end of a decision that could not read. What trying again can't heal must not hold up the commands behind it.
func unread(err error) *Error {
	switch {
	case errors.Is(err, ErrPruned): // an index that was added after the basis
		e := userError(tagBasis, "%v", err)
		e.cause = err
		return e
	case errors.Is(err, errNotNamed):
		return devError(tagProcess, err)
	}
	return Retry(err)
}

// decideSafely is decide where nobody else makes an error of a panic.
func (k *decider) decideSafely(ctx context.Context, c *command, d *Decision, p *position) (commit *Commit, err error) {
	defer func() {
		if p := recover(); p != nil {
			commit, err = nil, devError(tagProcess, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return k.decide(ctx, c, d, p)
}

// conflict refuses a decision when what it read has changed from its basis to t.
func (d *Decision) conflict(t uint64) error {
	if d.reader.seen == nil || d.reader.t == t || mutant.Is("Unchanged unchecked") {
		return nil
	}
	tr, err := d.begin()
	if err != nil {
		return Retry(err)
	}
	defer d.end(tr)
	changes, err := d.reader.seen.changed(tr.rowTx, d.reader.t, t)
	if err != nil {
		d.reader.fail(err)
		return Retry(err)
	}
	if len(changes) == 0 {
		return nil
	}
	return userError(tagConflict, "decided as of t %d, and what it read has changed since: %s %s at t %d",
		d.reader.t, changes[0].Table, changes[0].Key, changes[0].T).With("changes", changes)
}

func (k *decider) commit(c *command, d *Decision, events []Event, p *position) (*Commit, error) {
	room := &commitRoom{digest: p.digest}
	commit := &room.commit
	commit.Values, commit.command, commit.remarks = events, c, d.remarks
	basis := d.reader.t
	if c.Basis != nil {
		basis = *c.Basis
	}
	commit.Record = store.Record{
		Envelope: store.Envelope{
			Shard: k.shard, Command: c.ID, CommandType: c.Type, Key: c.Key,
			Time: c.Time.UnixMilli(), Basis: basis, Code: k.code,
		},
		Payload: c.payload, Trace: c.Trace, Events: room.eventsFor(len(events)),
	}
	free := c.typ.consistency == AsOfBasis && c.Basis != nil && (*c.Basis <= k.settled || mutant.Is("rooted in the batch"))
	if !free && !mutant.Is("prev left out") {
		commit.Prev = room.digest[:]
	}
	if len(d.remarks) > 0 && !mutant.Is("remarks lost") {
		commit.Remarks = encodeRemarks(d.remarks)
	}
	if mutant.Is("wall clock in the commit") {
		commit.Time = time.Now().UnixMilli()
	}
	if mutant.Is("events in the order of a map") && len(events) > 1 && mutant.Coin() {
		events[0], events[1] = events[1], events[0]
	}
	if mutant.Is("commit without all its events") && len(events) > 1 {
		commit.Values, commit.Events = events[:1], commit.Events[:1]
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

func (k *decider) encodeEvents(c *Commit, d *Decision) error {
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
		if k.limit > 0 && len(data) > k.limit {
			return devError(tagTooLarge, fmt.Errorf("event %s has %d bytes, and the store's limit is %d", t.name, len(data), k.limit))
		}
		exact = exact && same
		c.Events[i] = store.Event{ID: EventID(c.Command, i, d.segment), Index: i, Segment: d.segment, Type: t.name, Data: data}
	}
	if !exact {
		return k.types.decodeEvents(c)
	}
	return nil
}
