package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/anishathalye/porcupine"
	"github.com/cqrs-server/cqrs"
)

// What clients did and saw is given to porcupine, which looks for an order of it all that is one of real time, too: what began after something else
// had ended comes behind it. The ledger knows the order of the log, and nothing of when anybody was told.

// moment numbers what clients do and hear.
func (w *World) moment() int64 {
	w.moments++
	return w.moments
}

// hearEnds notes of which commands of a process it is known how they ended. What was accepted can then be read (invariant 14).
func (p *proc) hearEnds() {
	p.waiting = slices.DeleteFunc(p.waiting, func(s *send) bool {
		t, err, ended := p.process.Ended(s.receipt)
		if ended {
			s.heard, s.t, s.refused = p.w.moment(), t, err
		}
		if ended && !p.sender && p.rt.Shard(s.receipt.Shard).View().T() < t {
			p.w.fault("14: who waits in process %d hears that command %s was accepted at t %d, and can't read it", p.n, s.id, t)
		}
		return ended
	})
}

// look is what somebody read.
type look struct {
	proc, shard int
	newest, t   uint64 // t is what was asked for
	at          int64
	accs        map[string]Account
	counts      map[string]int
	err         error
}

// looks reads now and then, mostly the newest value.
func (p *proc) looks() {
	w := p.w
	if p.sender || w.calm || w.looking.IntN(12) > 0 {
		return
	}
	l := look{proc: p.n, shard: w.looking.IntN(w.shards)}
	shard := p.rt.Shard(l.shard)
	view := shard.View()
	l.newest, l.t = view.T(), view.T()
	if w.looking.IntN(4) == 0 {
		l.t = w.looking.Uint64N(l.t + 1)
		view = shard.AsOf(l.t)
	}
	l.read(view)
	l.at = w.moment()
	w.looked = append(w.looked, l)
}

func (l *look) read(view cqrs.View) {
	l.accs, l.counts = map[string]Account{}, map[string]int{}
	for a, err := range accounts.All(view) {
		l.accs[a.Name], l.err = a, errors.Join(l.err, err)
	}
	for c, err := range counters.All(view) {
		l.counts[c.Name], l.err = c.N, errors.Join(l.err, err)
	}
}

// checkLook is invariant 8 for what was read while things went on.
func (l *ledger) checkLook(r *look) {
	switch {
	case errors.Is(r.err, cqrs.ErrPruned):
		return
	case r.t >= uint64(len(l.states)):
		l.w.fault("8: process %d showed t %d of shard %d, and the log ends at t %d", r.proc, r.t, r.shard, len(l.states)-1)
		return
	}
	want := l.states[r.t]
	if r.err != nil || !want.shows(r.accs, r.counts) {
		l.w.fault("8: process %d showed at t %d of shard %d %v %v (%v), and must show %v %v",
			r.proc, r.t, r.shard, r.accs, r.counts, r.err, want.accs, want.counts)
	}
}

// deed is one thing that a client did: the command that made t, or was refused, or a look at t.
type deed struct {
	ledger  *ledger
	t       uint64
	look    bool
	refused []*request
}

// step tells whether a deed can have been done when the value is that of t, and what t is behind it. What it read or decided at each t
// the ledger has compared.
func (d *deed) step(t uint64) (bool, uint64) {
	switch {
	case d.look:
		return d.t <= t, t
	case d.refused != nil:
		return d.ledger.canRefuse(d.refused, t), t
	}
	return d.t == t+1, d.t
}

func (l *ledger) canRefuse(list []*request, t uint64) bool {
	return slices.ContainsFunc(list, func(q *request) bool {
		return q.typ == "cqrs/refold" || l.refuses(decodeCommand(q.typ, "1", q.data), q, t) || l.refuses(decodeCommand(q.typ, "2", q.data), q, t)
	})
}

var orders = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		ok, t := input.(*deed).step(state.(uint64))
		return ok, t
	},
}

// checkOrder is invariant 6 in real time.
func (l *ledger) checkOrder() {
	for i := range l.w.looked {
		if r := &l.w.looked[i]; r.shard == l.shard {
			l.checkLook(r)
		}
	}
	history := l.history()
	l.w.counts["given to porcupine"] += len(history)
	if len(l.w.faults) == 0 && !porcupine.CheckOperations(orders, history) {
		l.w.fault("6: what clients did and saw in shard %d has no order: %s", l.shard, describe(history))
	}
}

// history is all that was done with the shard.
func (l *ledger) history() (list []porcupine.Operation) {
	whens := l.whens()
	for i := range l.accepted {
		r := &l.accepted[i]
		d := &deed{ledger: l, t: r.T}
		list = append(list, whens[placeOf(r.Command, r.Payload)].operation(d))
	}
	for id, r := range l.refused {
		place := placeOf(id, r.payload)
		if when := whens[place]; when.refused > 0 {
			when.heard = when.refused
			list = append(list, when.operation(&deed{ledger: l, refused: l.byPlace[place]}))
		}
	}
	for _, r := range l.w.looked {
		if r.shard == l.shard {
			list = append(list, when{called: r.at, heard: r.at}.operation(&deed{ledger: l, t: r.newest, look: true}))
		}
	}
	return list
}

// when is when a command was sent first, and when somebody heard first that it was accepted, or refused; 0 is never. What another
// program sent may have come at any time.
type when struct{ called, heard, refused int64 }

func (l *ledger) whens() map[[32]byte]when {
	list := map[[32]byte]when{}
	for _, s := range l.w.sends {
		place := placeOf(s.id, s.payload(l))
		was, known := list[place]
		if !known {
			was.called = s.called
		}
		switch e, refused := errors.AsType[*cqrs.Error](s.refused); {
		case s.heard == 0:
		case refused && e.Level == cqrs.User && e.Tag != "basis":
			was.refused = first(was.refused, s.heard)
		case s.t > 0:
			was.heard = first(was.heard, s.heard)
		}
		list[place] = was
	}
	return list
}

func first(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

func (w when) operation(d *deed) porcupine.Operation {
	end := w.heard
	if end == 0 {
		end = math.MaxInt64
	}
	return porcupine.Operation{Input: d, Call: w.called, Return: end}
}

// describe is for a history that was made smaller.
func describe(history []porcupine.Operation) (text string) {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for i := range history {
		text += describeOne(&history[i]) + " "
	}
	return text
}

func describeOne(o *porcupine.Operation) string {
	d, end := o.Input.(*deed), "?"
	if o.Return < math.MaxInt64 {
		end = strconv.FormatInt(o.Return, 10)
	}
	what := fmt.Sprintf("accepted at t %d", d.t)
	switch {
	case d.look:
		what = fmt.Sprintf("looked at t %d", d.t)
	case d.refused != nil:
		what = d.refused[0].typ + " refused"
	}
	return fmt.Sprintf("[%d-%s %s]", o.Call, end, what)
}
