package cqrs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// AuditOptions say how Audit goes about it.
type AuditOptions struct {
	// Rate is how many commands a second are looked at, at the most. Defaults to 0: no limit.
	Rate int
	// Found hears of each difference when it is found; the report lists the first 100.
	Found func(Difference)
	// Progress hears about once a second, and at the end, how many commands have been looked at, of how many.
	Progress func(done, of uint64)
}

// AuditReport is what Audit found.
type AuditReport struct {
	Checked   uint64 // commands that were decided again
	Same      uint64 // of these, those of which the same came out, byte for byte
	Different uint64 // and the others

	// NotChecked counts what could not be decided again, by the reason: "gone" (commits whose command the queue no longer keeps), "pruned"
	// (they read a value older than the history that Config keeps), "no end" (commands that never came to a decision that is kept:
	// their data did not fit, they are dead letters, or they wait), "repeat" (commands that came again), "retry" (the
	// decision asked to be tried again) and "own" (the library's own commands).
	NotChecked map[string]uint64

	Differences []Difference // the first 100; one command may have several
}

const (
	notGone   = "gone"
	notPruned = "pruned"
	notEnded  = "no end"
	notAgain  = "repeat"
	notNow    = "retry"
	notOurs   = "own"
)

// Audit decides the commands that the queue still keeps (Config.Retention) again, each at the value that it was decided at, and compares
// what comes out with what the log says: the events, their ids, order and bytes, the remarks, and the error of a refused command. The
// code that made the log must give no difference; other code gives a list of the decisions that it would have made otherwise.
//
// It changes nothing, and may be called while the runtime runs, or while it does not. ctx goes to ProcessCommand. When ctx ends, or the
// files can't be read, the report covers what was looked at until then.
func (rt *Runtime) Audit(ctx context.Context, o AuditOptions) (AuditReport, error) {
	if rt.cfg.Role == Sender {
		return AuditReport{}, errNoView
	}
	a := &audit{rt: rt, check: newCheck(o.Rate, o.Found, o.Progress)}
	a.report.NotChecked = map[string]uint64{}
	var err error
	for _, s := range rt.shards {
		a.shards = append(a.shards, &auditShard{audit: a, shard: s, agg: s.agg(), decider: s.decider(), seen: tSet{},
			log: logCursor{store: rt.store, shard: s.n}})
		err = errors.Join(err, a.shards[len(a.shards)-1].open(ctx))
	}
	for _, s := range a.shards {
		if err == nil {
			err = s.run(ctx)
		}
		s.log.close()
	}
	a.ended()
	a.report.Differences = a.listed
	maps.DeleteFunc(a.report.NotChecked, func(_ string, n uint64) bool { return n == 0 })
	if err != nil {
		return a.report, fmt.Errorf("cqrs: audit: %w", readError(err))
	}
	return a.report, nil
}

type audit struct {
	check
	rt     *Runtime
	shards []*auditShard
	report AuditReport
}

type auditShard struct {
	*audit
	shard    *Shard
	agg      *aggregate // another version may take its place meanwhile
	decider  decider
	log      logCursor
	from, to int64  // of the command queue
	t        uint64 // of the shard, when the audit began
	seen     tSet   // the commits whose commands were met
}

// open fixes what is looked at: what came before the audit began.
func (s *auditShard) open(ctx context.Context) (err error) {
	if s.from, s.to, err = s.rt.queue.Bounds(ctx, topicCommands, s.shard.n); err != nil {
		return err
	}
	s.t = s.agg.position().t
	s.of += uint64(s.to - s.from)
	return nil
}

func (s *auditShard) run(ctx context.Context) error {
	for s.from < s.to {
		msgs, err := s.rt.queue.Read(ctx, topicCommands, s.shard.n, s.from, int(min(int64(s.step()), s.to-s.from)))
		if gone, ok := errors.AsType[*queue.RangeError](err); ok && gone.Start > s.from { // retention went on meanwhile
			s.from = gone.Start
			continue
		}
		if err != nil {
			return err
		}
		if err := s.again(ctx, msgs); err != nil {
			return err
		}
		s.from = msgs[len(msgs)-1].Offset + 1
		if err := s.went(ctx, len(msgs)); err != nil {
			return err
		}
	}
	s.report.NotChecked[notGone] += s.t - s.seen.upTo(s.t)
	return nil
}

// again decides the commands of a few messages again.
func (s *auditShard) again(ctx context.Context, msgs []queue.Message) error {
	commands := make([]command, 0, len(msgs))
	for i := range msgs {
		c := command{message: msgs[i]}
		if err := readCommand(&c.message, &c.Envelope, s.decider.types.names); err != nil {
			s.report.NotChecked[notEnded]++
			continue
		}
		c.payload, _ = payloadDigest(&c.Envelope, nil)
		commands = append(commands, c)
	}
	marks, err := s.agg.marks(commands)
	if err != nil {
		return err
	}
	for i := range commands {
		if err := s.one(ctx, &commands[i], marks[i]); err != nil {
			return err
		}
	}
	return nil
}

// marks finds how commands ended; nil: they have not, as far as is kept.
func (a *aggregate) marks(commands []command) (marks []*mark, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		for i := range commands {
			m, found, err := a.mark(tx, commands[i].ID[:])
			if err != nil {
				return err
			}
			marks = append(marks, nil)
			if found {
				m.refusal = append([]byte(nil), m.refusal...)
				marks[i] = &m
			}
		}
		return nil
	})
	return marks, err
}

// one decides a command again, unless there is a reason against it, and compares.
func (s *auditShard) one(ctx context.Context, c *command, m *mark) error {
	switch {
	case m == nil, m.t == 0 && m.turn == 0:
		s.report.NotChecked[notEnded]++
	case m.payload != c.payload, m.t > 0 && s.seen.has(m.t):
		s.report.NotChecked[notAgain]++
	case strings.HasPrefix(c.Type, reserved): // what they read is not kept in versions
		s.seen.add(m.t)
		s.report.NotChecked[notOurs]++
	case m.t > 0:
		s.seen.add(m.t)
		return s.accepted(ctx, c, m.t)
	default:
		return s.refused(ctx, c, m)
	}
	return nil
}

// accepted compares a commit of the log with what is decided now.
func (s *auditShard) accepted(ctx context.Context, c *command, t uint64) error {
	logged, found, err := s.log.at(ctx, t)
	if err != nil {
		return err
	}
	if !found || logged.Command != c.ID {
		s.compared([]Difference{s.about(c, t, "its mark says that it is this commit, and the log has another one there", nil, nil)})
		return nil
	}
	p := position{t: t - 1}
	copy(p.digest[:], logged.Prev)
	commit, err := s.decide(ctx, c, &p)
	switch reason, stop := s.unfinished(ctx, err); {
	case stop != nil:
		return stop
	case reason != "":
		s.report.NotChecked[reason]++
	case err != nil:
		e := asError(err, tagProcess).of(c.ID)
		s.compared([]Difference{s.about(c, t, "it was accepted, and now ends with an error", eventTypes(&logged), e.encode())})
	default:
		s.compared(s.differences(c, &logged, &commit.Record))
	}
	return nil
}

func eventTypes(r *store.Record) []byte {
	types := []string{}
	for i := range r.Events {
		types = append(types, r.Events[i].Type)
	}
	return []byte(strings.Join(types, " "))
}

// refused compares the error that a command was refused with.
func (s *auditShard) refused(ctx context.Context, c *command, m *mark) error {
	commit, err := s.decide(ctx, c, &position{t: m.turn - 1})
	switch reason, stop := s.unfinished(ctx, err); {
	case stop != nil:
		return stop
	case reason != "":
		s.report.NotChecked[reason]++
	case err == nil:
		s.compared([]Difference{s.about(c, m.turn, "it was refused, and is now accepted", m.refusal, eventTypes(&commit.Record))})
	default:
		now := asError(err, tagProcess).of(c.ID).encode()
		if string(now) == string(m.refusal) {
			s.compared(nil)
			return nil
		}
		s.compared([]Difference{s.about(c, m.turn, "it was refused, and now ends with another error", m.refusal, now)})
	}
	return nil
}

// decide decides a command as the shard would have at p. Its reads each have a transaction of their own: the program's code never runs
// inside one that stays open.
func (s *auditShard) decide(ctx context.Context, c *command, p *position) (commit *Commit, err error) {
	if e := s.decider.coerce(c); e != nil {
		return nil, e
	}
	d := &Decision{past: s.agg}
	if e := s.decider.root(d, c, p); e != nil {
		return nil, e
	}
	commit, err = s.decider.decideSafely(ctx, c, d, p)
	switch e := d.reader.err; { // it counts more than what the program made of it
	case errors.Is(e, ErrPruned), errors.Is(e, ErrClosed):
		return nil, e
	case e != nil:
		return nil, devError(tagProcess, e)
	}
	return commit, err
}

// unfinished tells why a command could not be decided again, or why the audit must stop.
func (s *auditShard) unfinished(ctx context.Context, err error) (reason string, stop error) {
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, ErrClosed):
		return "", err
	case errors.Is(err, ErrPruned):
		return notPruned, nil
	case isSystem(err):
		return notNow, nil
	}
	return "", nil
}
