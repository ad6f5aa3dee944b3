package sim

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// quiet is what was done in a history, when it has come to its end.
func quiet(t *testing.T, seed uint64) []porcupine.Operation {
	w, err := newWorld(Options{Seed: seed, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	w.work()
	w.heal()
	if w.disaster != none {
		return nil
	}
	w.drain()
	if w.check(); len(w.faults) > 0 {
		t.Fatal(seed, w.faults)
	}
	return w.ledgers[0].history()
}

// Each change to what a history did is one that real time, or what was read, forbids.
func TestOrdersThatMustNotPass(t *testing.T) {
	changes := map[string]func([]porcupine.Operation) bool{
		"two commands in the wrong order": swapTwo, "a look at what nobody had sent": lookAhead, "refused when it was not to be": refuseLate,
	}
	for what, change := range changes {
		done := 0
		for seed := uint64(1); seed <= 40 && done < 3; seed++ {
			history := quiet(t, seed)
			if !change(history) {
				continue
			}
			if done++; porcupine.CheckOperations(orders, history) {
				t.Errorf("%s: seed %d passes", what, seed)
			}
		}
		if done == 0 {
			t.Errorf("%s: no history has such a place", what)
		}
	}
}

func accepts(o *porcupine.Operation) bool {
	d := o.Input.(*deed)
	return !d.look && d.refused == nil
}

// swapTwo swaps the t of two commands, one of which was sent when the other was known to be accepted.
func swapTwo(history []porcupine.Operation) bool {
	for i := range history {
		for j := range history {
			if a, b := &history[i], &history[j]; accepts(a) && accepts(b) && a.Return < b.Call {
				a.Input, b.Input = b.Input, a.Input
				return true
			}
		}
	}
	return false
}

func lookAhead(history []porcupine.Operation) bool {
	at := slices.IndexFunc(history, func(o porcupine.Operation) bool { return accepts(&o) && o.Call > 1 })
	look := slices.IndexFunc(history, func(o porcupine.Operation) bool { return o.Input.(*deed).look })
	if at < 0 || look < 0 {
		return false
	}
	o := &history[look]
	o.Call, o.Return = history[at].Call-1, history[at].Call-1
	o.Input = &deed{ledger: o.Input.(*deed).ledger, look: true, t: history[at].Input.(*deed).t}
	return true
}

// refuseLate has a command be refused when all had come to a t at which it would be accepted.
func refuseLate(history []porcupine.Operation) bool {
	last, end := int64(0), uint64(0)
	for i := range history {
		if o := &history[i]; accepts(o) {
			end = max(end, o.Input.(*deed).t)
			if o.Return > last {
				last = o.Return
			}
		}
	}
	for i := range history {
		d := history[i].Input.(*deed)
		if d.refused != nil && !d.ledger.canRefuse(d.refused, end) && last < 1<<62 {
			history[i].Call, history[i].Return = last+1, last+2
			return true
		}
	}
	return false
}
