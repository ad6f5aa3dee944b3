package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// check looks whether all invariants hold, when everything is quiet.
func (w *World) check() {
	if len(w.faults) > 0 {
		return
	}
	for shard := range w.shards {
		l := w.readLedger(shard)
		w.ledgers = append(w.ledgers, l)
		for _, p := range w.workers() {
			l.checkReplica(p)
		}
		l.checkStore()
		l.checkOutcomes()
		l.checkOrder()
		l.checkOutput()
		w.counts["commits"] += len(l.accepted)
	}
	w.checkReceipts()
	w.checkFeedback()
	w.checkRebuild()
}

// checkReplica is invariants 5, 8 and 11 on one process.
func (l *ledger) checkReplica(p *proc) {
	w, s := l.w, p.rt.Shard(l.shard)
	digest, t := s.Digest()
	if want := uint64(len(l.accepted)); t != want {
		w.fault("5: process %d is at t %d of shard %d, and the log says %d", p.n, t, l.shard, want)
		return
	}
	if digest != l.digests[t] {
		w.fault("5: process %d has another digest at t %d of shard %d than the log", p.n, t, l.shard)
	}
	if got, want := s.Failed(), uint64(len(l.states[t].failed)); got != want {
		w.fault("11: process %d says that %d folds failed in shard %d, and the model %d", p.n, got, l.shard, want)
	}
	for range 4 {
		l.checkValue(p, w.rng.Uint64N(t+1))
	}
	l.checkValue(p, t)
}

// checkValue compares what a process shows as of t with the model.
func (l *ledger) checkValue(p *proc, t uint64) {
	view, want := p.rt.Shard(l.shard).AsOf(t), l.states[t]
	got := map[string]Account{}
	for a, err := range accounts.All(view) {
		if errors.Is(err, cqrs.ErrPruned) && l.w.keep > 0 && t+l.w.keep < uint64(len(l.accepted)) {
			l.w.count("read of a pruned t")
			return
		}
		if err != nil {
			l.w.fault("8: process %d: accounts of shard %d as of t %d: %v", p.n, l.shard, t, err)
			return
		}
		got[a.Name] = a
		if a.Mail != "" {
			if found, err := mails.Get(view, a.Mail); err != nil || found != a {
				l.w.fault("8: process %d: by the mail %s of shard %d as of t %d: %v, %v", p.n, a.Mail, l.shard, t, found, err)
			}
		}
	}
	numbers := map[string]int{}
	for c, err := range counters.All(view) {
		if err != nil {
			l.w.fault("8: process %d: counters of shard %d as of t %d: %v", p.n, l.shard, t, err)
			return
		}
		numbers[c.Name] = c.N
	}
	if !want.shows(got, numbers) {
		l.w.fault("8: process %d shows at t %d of shard %d %v %v, and must show %v %v", p.n, t, l.shard, got, numbers, want.accs, want.counts)
	}
}

// checkStore is invariants 10 and 11.
func (l *ledger) checkStore() {
	if l.w.archive != nil {
		l.compareStore("the store", func(yield func(store.Record) bool) {
			for t := uint64(1); t <= l.w.archive.last(l.shard); t++ {
				if !yield(l.w.archive.records[l.w.archive.log[l.shard][t]]) {
					return
				}
			}
		})
		if n := len(l.w.archive.log[l.shard]); n != len(l.accepted) {
			l.w.fault("11: the store has %d commits of shard %d, and the log %d", n, l.shard, len(l.accepted))
		}
		return
	}
	for _, p := range l.w.workers() {
		l.compareStore(fmt.Sprintf("the archive of process %d", p.n), func(yield func(store.Record) bool) {
			for r, err := range p.rt.Store().Log(context.Background(), l.shard, 1) {
				if err != nil {
					l.w.fault("11: process %d: %v", p.n, err)
					return
				}
				if !yield(r) {
					return
				}
			}
		})
	}
}

func (l *ledger) compareStore(whose string, records func(func(store.Record) bool)) {
	n := 0
	for r := range records {
		if n >= len(l.accepted) {
			l.w.fault("11: %s has more commits of shard %d than the log", whose, l.shard)
			return
		}
		want := &l.accepted[n]
		if n++; r.T != want.T || !bytes.Equal(r.Append(nil), want.Append(nil)) {
			l.w.fault("10: t %d of shard %d is another commit in %s than in the log", n, l.shard, whose)
		}
	}
	if n != len(l.accepted) {
		l.w.fault("11: %s ends at t %d of shard %d, and the log at %d", whose, n, l.shard, len(l.accepted))
	}
}

// told is what the feedback queue said of one command and payload.
type told struct {
	ts       map[uint64]bool
	refusals map[string]bool // by tag
	dead     bool
	n        int
}

// checkOutcomes is invariants 1, 3, 14 and 19.
func (l *ledger) checkOutcomes() {
	said, dead := l.hear(), l.letters()
	for i := range l.commands {
		q := &l.commands[i]
		if q.bad {
			m := l.w.broker.part(commandsTopic, l.shard).msgs[q.offset]
			if !slices.ContainsFunc(dead, func(d letter) bool { return bytes.Equal(d.Value, m.Value) }) {
				l.w.fault("19: message %d of the commands of shard %d is no command, and there is no dead letter of it", q.offset, l.shard)
			}
			continue
		}
		l.checkOutcome(q, said[placeOf(q.id, q.payload)], dead)
	}
	for place, t := range said {
		if id := uuid.UUID(place[:16]); l.byPlace[place] == nil && l.states != nil && !l.foreign(id) && place[16] != 0 {
			l.w.fault("14: feedback of command %s, which nobody sent: %v", id, t)
		}
	}
}

func (l *ledger) foreign(id uuid.UUID) bool {
	t := l.byID[id]
	return t > 0 && l.accepted[t-1].Code == "foreign"
}

func (l *ledger) checkOutcome(q *request, t *told, dead []letter) {
	if t == nil {
		l.w.fault("1: command %s (%s, offset %d of shard %d) has no feedback", q.id, q.typ, q.offset, l.shard)
		return
	}
	at, accepted := l.byID[q.id]
	accepted = accepted && l.accepted[at-1].Payload == q.payload
	no, refused := l.refused[q.id]
	refused = refused && no.payload == q.payload
	outcomes, again := 0, false
	if accepted {
		outcomes++
	}
	for got := range t.ts {
		if !accepted || got != at {
			l.w.fault("14: feedback says that command %s (%s) was accepted at t %d, and the log says %d", q.id, q.typ, got, at)
		}
	}
	if accepted && len(t.ts) == 0 {
		l.w.fault("14: command %s (%s) was accepted at t %d, and no feedback says so: %+v", q.id, q.typ, at, *t)
	}
	for tag := range t.refusals {
		switch {
		case tag == "id-conflict":
			if accepted || refused {
				l.w.fault("3: command %s (%s) ended, and has an id conflict too", q.id, q.typ)
			}
			l.w.count("id conflict told")
		case tag == "validation":
			l.w.count("refused: validation")
			outcomes++
		case tag == "basis": // it says how far the shard was, and no more: the command may come again when it is further
			l.w.count("refused: basis")
			again = again || accepted || refused
		case !refused:
			l.w.fault("14: feedback says that command %s (%s) was refused (%s), and the log does not", q.id, q.typ, tag)
		}
	}
	if refused {
		outcomes++
	}
	if t.dead {
		if outcomes > 0 { // a dead letter may be sent again, and a command that ended so may be delivered again
			l.w.count("dead letter, and then decided")
			again = true
		}
		if !slices.ContainsFunc(dead, func(d letter) bool { return d.Err != nil && d.Err.Command == q.id }) {
			l.w.fault("19: command %s (%s) failed, and there is no dead letter of it", q.id, q.typ)
		}
	}
	if again && l.given(q) < 2 {
		l.w.fault("14: command %s (%s) was given to owners once, and ended twice: accepted %v, refused %v, told %+v", q.id, q.typ, accepted, refused, *t)
	}
	if outcomes > 1 {
		l.w.count("two outcomes")
		l.w.fault("14: command %s (%s) has %d outcomes: accepted %v, refused %v, told %+v", q.id, q.typ, outcomes, accepted, refused, *t)
	}
}

// given is how often owners were given a command, all that have its id and payload taken together.
func (l *ledger) given(q *request) (n int) {
	for _, r := range l.byPlace[placeOf(q.id, q.payload)] {
		n += l.w.broker.part(commandsTopic, l.shard).given[r.offset]
	}
	return n
}

// hear reads the whole feedback queue, also what retention has dropped.
func (l *ledger) hear() map[[32]byte]*told {
	said := map[[32]byte]*told{}
	for _, f := range l.w.broker.part(feedbackTopic, l.shard).heard {
		place := placeOf(f.command, f.payload)
		t := said[place]
		if t == nil {
			t = &told{ts: map[uint64]bool{}, refusals: map[string]bool{}}
			said[place] = t
		}
		t.n++
		switch {
		case f.failed:
			t.dead = true
		case f.err != nil:
			t.refusals[f.err.Tag] = true
			l.checkBasis(place, f.err)
		default:
			t.ts[f.t] = true
		}
	}
	return said
}

// checkBasis looks whether a command was refused because of a basis that the log had come to when it was sent: who refuses it did not know
// the log's end.
func (l *ledger) checkBasis(place [32]byte, e *cqrs.Error) {
	if e.Tag != "basis" || !strings.Contains(e.Message, "has only come to") || len(l.byPlace[place]) == 0 {
		return
	}
	for _, q := range l.byPlace[place] {
		if q.basis == nil || q.offset < l.new || *q.basis > l.w.broker.part(commandsTopic, l.shard).reached[q.offset] {
			return
		}
	}
	l.w.fault("6: command %s was refused, and the log had come to its basis before it was sent: %v", e.Command, e)
}

// letter is a dead letter.
type letter struct {
	Err     *cqrs.Error `json:"error"`
	Value   []byte      `json:"value"`
	Handled []int64     `json:"handled"`
}

// letters reads all dead letters, also those that were sent again.
func (l *ledger) letters() (list []letter) {
	p := l.w.broker.part(deadTopic, l.shard)
	for i, m := range p.msgs {
		var d letter
		if p.by[i] == nil || json.Unmarshal(m.Value, &d) != nil || d.Handled != nil {
			continue
		}
		if list = append(list, d); d.Err == nil || d.Err.Level != cqrs.Dev {
			l.w.fault("20: a dead letter that is no defect: %s", m.Value)
		}
	}
	if _, err := l.w.workers()[0].rt.DeadLetters(context.Background()); err != nil {
		l.w.fault("19: dead letters: %v", err)
	}
	return list
}

// checkRebuild is invariant 13: a new replica comes to the same value, from store and log.
func (w *World) checkRebuild() {
	p := &proc{w: w, n: len(w.procs), code: "1", dir: w.dir + "/rebuilt"}
	p.open()
	w.procs = append(w.procs, p)
	for shard := range w.shards {
		for range 5000 {
			n, err := p.process.Follow(context.Background(), shard)
			if err != nil {
				w.fault("13: a new replica: %v", err)
				return
			}
			if n == 0 {
				break
			}
		}
		w.ledgers[shard].checkReplica(p)
	}
}
