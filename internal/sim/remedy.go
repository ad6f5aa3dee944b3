package sim

import (
	"os"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
)

// What the errors after a disaster tell an operator to do is done: all processes are stopped, their folders are moved away, and they are
// built anew from the store. Then work must go on: what is sent ends once, all agree, and what is new in the log is what is new in the store.

// base is where a shard stands when work goes on.
type base struct {
	records  []store.Record // of the store
	commands int64          // where the commands ended
	events   int64          // and the log
	sends    int
}

func (w *World) remedy() {
	if w.archive == nil || len(w.faults) > 0 {
		return // each process had its own archive, which went with the folder
	}
	for _, p := range w.procs {
		p.crash()
		p.shown = nil
		if err := os.RemoveAll(p.dir); err != nil {
			w.fault("the folder can't be moved away: %v", err)
		}
	}
	w.startAnew()
	for _, p := range w.procs {
		p.open()
	}
	w.assignAll()
	w.sendAll(12)
	if w.drain(); len(w.faults) > 0 {
		return
	}
	w.checkAnew()
	w.count("work went on after: " + w.remedied.String())
}

// startAnew forgets what was before, and notes where the shards stand.
func (w *World) startAnew() {
	w.remedied, w.disaster = w.disaster, none
	w.oldSends, w.epoch = len(w.sends), w.epoch+100
	for n := range w.shards {
		if p := w.broker.part(commandsTopic, n); p.committed > p.end() && p.committed <= p.end()+12 {
			p.committed = 0 // soon it could not be told from a true one: the operator deletes it, as the error says
		}
		w.reached[n], w.digests[n] = 0, map[uint64]cqrs.Digest{}
		w.bases = append(w.bases, base{
			w.archive.complete(n), w.broker.part(commandsTopic, n).end(), w.broker.part(eventsTopic, n).end(), len(w.sends),
		})
	}
}

// complete gives a shard's records. What stands behind a gap is taken away, as an operator does who sees that the store is not complete: it was
// never told of.
func (a *archive) complete(shard int) (list []store.Record) {
	last := a.last(shard)
	for t, id := range a.log[shard] {
		if t > last {
			a.w.count("the store had a gap after a disaster")
			delete(a.log[shard], t)
			delete(a.records, id)
		}
	}
	for t := uint64(1); t <= last; t++ {
		list = append(list, a.records[a.log[shard][t]])
	}
	return list
}

// sendAll sends commands while all others work.
func (w *World) sendAll(n int) {
	w.toSend = n
	for round := 0; w.toSend > 0 && round < 2000; round++ {
		for _, p := range w.procs {
			for _, k := range p.workers {
				w.ticks++
				w.resume(k)
			}
		}
	}
}

// checkAnew is check for what came after the remedy. What had been sent before may have ended in any way, or not at all.
func (w *World) checkAnew() {
	w.ledgers = nil
	for shard, b := range w.bases {
		l := w.ledgerOn(shard, &b)
		w.ledgers = append(w.ledgers, l)
		for _, p := range w.workers() {
			l.checkReplica(p)
		}
		l.checkStore()
		l.checkNew(b.commands)
	}
	sends := w.sends
	w.sends = slices.Clone(sends[w.bases[0].sends:])
	w.checkReceipts()
	w.sends = sends
	w.checkRebuild()
}

// ledgerOn is readLedger on top of what the store had.
func (w *World) ledgerOn(shard int, b *base) *ledger {
	l := w.newLedger(shard)
	l.from, l.new = b.events, b.commands
	for i := range b.records {
		r := b.records[i]
		l.accept(&r, r.Append(nil), -1)
	}
	for _, m := range w.broker.part(eventsTopic, shard).msgs {
		l.take(m)
	}
	return l
}

// checkNew looks how the commands ended that were sent after the remedy.
func (l *ledger) checkNew(from int64) {
	said, dead := l.hear(), l.letters()
	for i := range l.commands {
		if q := &l.commands[i]; q.offset >= from && !q.bad && !strings.HasPrefix(q.typ, "cqrs/") {
			l.checkOutcome(q, said[placeOf(q.id, q.payload)], dead)
		}
	}
}
