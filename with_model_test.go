package cqrs_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestWithModel supposes random commands, compares what can be read then with the model, really sends the same commands, and compares what they
// gave.
func TestWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModelRun(t)
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			m.action(t)
			m.supposeOlder(t)
			m.supposeAndSend(t)
			m.compare(t)
		}
	})
}

// supposed is a command that is first supposed and then sent.
type supposed struct {
	sent
	command cqrs.Command
}

func (s supposed) step() cqrs.Supposed {
	e := s.envelope
	options := []cqrs.SendOption{cqrs.WithID(e.ID), cqrs.WithTime(e.Time)}
	if e.Basis != nil {
		options = append(options, cqrs.WithBasis(*e.Basis))
	}
	return cqrs.IfSent(s.command, options...)
}

// drawSupposed draws commands, whose folds may fail, and lets the model follow.
func (m *modelRun) drawSupposed(t *rapid.T) (list []supposed) {
	add := func(s sent, c cqrs.Command) {
		s.envelope.ID, s.envelope.Time = uuid.New(), time.Now()
		if s.envelope.Basis == nil { // they are sent together, and would all have the same
			s.envelope.Basis = new(m.t() - 1)
		}
		list = append(list, supposed{s, c})
	}
	for range rapid.IntRange(1, 6).Draw(t, "commands") {
		basis, queries := m.drawBasis(t), m.drawQueries(t)
		switch rapid.SampledFrom([]string{"change", "change", "change", "refused", "serializable", "as of basis"}).Draw(t, "command") {
		case "change":
			folds := m.drawFolds(t)
			s := m.change(folds)
			add(s, change{script(folds)})
		case "refused":
			add(sent{probeFor(cqrs.Serializable, basis, true, queries...), wantRefused}, probeSerializable{probe{script(queries), true}})
		case "serializable":
			add(m.probe(cqrs.Serializable, basis, m.t(), queries), probeSerializable{probe{script(queries), false}})
		case "as of basis":
			add(m.probe(cqrs.AsOfBasis, basis, basis, queries), probeAsOfBasis{probe{script(queries), false}})
		}
	}
	basis, queries := m.drawBasis(t), m.drawQueries(t)
	add(m.probeUnchanged(basis, queries), probeUnchanged{probe{script(queries), false}})
	return list
}

// supposition is a value that With gave, with what it said of each command. Behind a fold that fails there is nothing more.
type supposition struct {
	view     cqrs.View
	outcomes []cqrs.Outcome
	errs     []error
	folds    bool // the last one is a fold that fails
}

// suppose goes on one command at a time, past those that are refused.
func suppose(t *rapid.T, v cqrs.View, list []supposed) supposition {
	w := supposition{view: v}
	for _, s := range list {
		next, out, err := w.view.With(t.Context(), s.step())
		e, failed := errors.AsType[*cqrs.Error](err)
		if err != nil && !failed {
			t.Fatalf("With: %v", err)
		}
		w.errs = append(w.errs, err)
		if failed {
			w.outcomes = append(w.outcomes, cqrs.Outcome{})
			if w.folds = e.Tag == "aggregate-event"; w.folds {
				return w
			}
			continue
		}
		w.view, w.outcomes = next, append(w.outcomes, out...)
	}
	return w
}

// supposeAtOnce gives all that pass to one With.
func (w *supposition) supposeAtOnce(t *rapid.T, v cqrs.View, list []supposed) {
	var steps []cqrs.Supposed
	var wanted []cqrs.Outcome
	for i, err := range w.errs {
		if err == nil {
			steps, wanted = append(steps, list[i].step()), append(wanted, w.outcomes[i])
		}
	}
	view, outcomes, err := v.With(t.Context(), steps...)
	if err != nil || view.T() != w.view.T() || len(outcomes) != len(wanted) {
		t.Fatalf("all at once: t %d, %d outcomes, %v; one at a time: t %d, %d", view.T(), len(outcomes), err, w.view.T(), len(wanted))
	}
	for i := range outcomes {
		if err := sameOutcome(wanted[i], outcomes[i]); err != nil {
			t.Fatalf("all at once: %v", err)
		}
	}
}

func (m *modelRun) supposeAndSend(t *rapid.T) {
	before := m.rt.View()
	list := m.drawSupposed(t)
	w := suppose(t, before, list)
	w.supposeAtOnce(t, before, list)
	if got := m.rt.View().T(); got != before.T() {
		t.Fatalf("supposing moved t from %d to %d", before.T(), got)
	}
	queries := append(m.drawQueries(t), wholeQueries()...)
	m.compareAsk(t, queries, w.view)
	var sents []sent
	for i, s := range list {
		sents = append(sents, w.checked(i, s.sent))
	}
	m.send(t, sents)
	m.follow(sents)
	if m.keep == 0 || m.rt.View().T() <= before.T()+m.keep {
		m.compareAsk(t, queries, w.view) // it has not changed
		m.compareSupposedPast(t, before, w.view)
	}
}

// checked has what really happens compared with what was supposed.
func (w *supposition) checked(i int, s sent) sent {
	check := s.check
	s.check = func(out cqrs.Outcome, err error) error {
		if i >= len(w.errs) {
			return check(out, err)
		}
		return errors.Join(check(out, err), w.sameEnd(i, out, err))
	}
	return s
}

func (w *supposition) sameEnd(i int, out cqrs.Outcome, err error) error {
	switch {
	case w.folds && i == len(w.errs)-1:
		if len(out.Remarks) == 0 {
			return fmt.Errorf("With said %w, and no fold failed", w.errs[i])
		}
	case w.errs[i] != nil || err != nil:
		a, ok := errors.AsType[*cqrs.Error](w.errs[i])
		b, ok2 := errors.AsType[*cqrs.Error](err)
		if !ok || !ok2 || a.Error() != b.Error() {
			return fmt.Errorf("With said %w, and sending gave %w", w.errs[i], err)
		}
	default:
		return sameOutcome(w.outcomes[i], out)
	}
	return nil
}

func sameOutcome(a, b cqrs.Outcome) error {
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("supposed\n%+v, and it was\n%+v", a, b)
	}
	return nil
}

// compareAsk compares a supposed value with the model's of the same t.
func (m *modelRun) compareAsk(t *rapid.T, queries []query, v cqrs.View) {
	world := m.worlds[min(v.T(), m.t())] // what was decided last writes nothing
	for _, q := range queries {
		if got, want := q.ask(v), q.answer(world); got != want {
			t.Fatalf("supposed, t %d: %+v gave\n%s, wanted\n%s", v.T(), q, got, want)
		}
	}
}

// compareSupposedPast compares histories and differences with those of what really happened.
func (m *modelRun) compareSupposedPast(t *rapid.T, before, w cqrs.View) {
	real := m.rt.AsOf(w.T())
	for _, name := range []string{"names", "numbers", "ids", "spots"} {
		table, row := modelTables[name], m.drawItem(t)
		if got, want := table.diff(before, w), table.diff(before, real); got != want {
			t.Fatalf("diff of %s:\n%s, wanted\n%s", name, got, want)
		}
		if got := table.diff(w, real); got != "" {
			t.Fatalf("%s: what was supposed and what happened differ:\n%s", name, got)
		}
		if got, want := table.history(w, row), table.history(real, row); m.keep == 0 && got != want {
			t.Fatalf("history of %s:\n%s, wanted\n%s", table.keyText(row), got, want)
		}
	}
}

// supposeOlder goes on from an older value: what was written since is not seen.
func (m *modelRun) supposeOlder(t *rapid.T) {
	basis := m.drawBasis(t)
	world, v := m.worlds[basis], m.rt.AsOf(basis)
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		next, folds := world.clone(), m.drawFolds(t)
		passes := true
		for _, ops := range folds {
			passes = passes && next.fold(m.expect(next, v.T()+1, ops), v.T()+1)
		}
		w, _, err := v.With(t.Context(), cqrs.IfSent(change{script(folds)}))
		if (err == nil) != passes {
			t.Fatalf("as of t %d: With gave the error %v, wanted %v", basis, err, !passes)
		}
		if passes {
			v, world = w, next
		}
	}
	for _, q := range append(m.drawQueries(t), wholeQueries()...) {
		if got, want := q.ask(v), q.answer(world); got != want {
			t.Fatalf("supposed over t %d of %d: %+v gave\n%s, wanted\n%s", basis, m.t(), q, got, want)
		}
	}
}
