package sim

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs"
)

// After a disaster (the topics deleted and made again, the log cut off in front of what was applied) nobody who had applied what is gone
// may go on as if nothing had happened: it must stop, and say why (invariant 16).

// stand is where a process stood when the disaster came.
type stand struct {
	t      uint64
	digest cqrs.Digest
	offset int64
	bound  bool // it must stop
	shown  shown
}

func (w *World) planDisaster() {
	if w.rng.IntN(10) == 0 && w.faulty() {
		w.disasterAt = 300 + w.rng.IntN(2000)
		w.plannedDisaster = []kind{madeAnew, truncated, commandsAnew}[w.rng.IntN(3)]
	}
}

func (w *World) maybeDisaster() {
	if w.disasterAt == 0 || w.ticks < w.disasterAt || w.disaster != none {
		return
	}
	id := FaultID{int(w.plannedDisaster), 1}
	if w.chances[w.plannedDisaster].off || !w.opts.wants(id) {
		w.disasterAt = 0
		return
	}
	w.disaster, w.happened = w.plannedDisaster, append(w.happened, id)
	w.note("disaster", w.disaster.String())
	w.count(w.disaster.String())
	for _, k := range []kind{folderLost, builtSlowly, snapshotBack, retention, offsetsBack} {
		w.chances[k].rate = 0
	}
	w.broker.late = nil
	for n := range w.shards {
		w.lost = append(w.lost, w.readLedger(n).digests)
		w.gone = append(w.gone, slices.Clone(w.broker.part(eventsTopic, n).msgs))
	}
	cuts := make([]int64, w.shards)
	switch w.disaster {
	case madeAnew:
		w.broker.makeAnew(cqrs.Topics())
	case commandsAnew: // while everything was down
		w.broker.makeAnew([]string{commandsTopic})
	default:
		for n := range cuts {
			cuts[n] = w.broker.truncate(n)
		}
	}
	for _, p := range w.workers() {
		p.stands = make([]stand, w.shards)
		for n := range p.stands {
			if p.up {
				p.stands[n] = p.standOf(n, cuts[n])
			}
		}
		if w.disaster == commandsAnew {
			p.crash()
		}
	}
}

func (p *proc) standOf(shard int, cut int64) (s stand) {
	s.digest, s.t = p.rt.Shard(shard).Digest()
	s.offset = min(p.reached[shard], p.process.Reached(shard)) // less than it was, where it is just being built from the store
	s.shown = p.shown[shard]
	// Who writes on at the very end can't know, and the store does.
	s.bound = s.t > 0 && (p.w.disaster != truncated || s.offset > cut && s.offset != p.w.broker.part(eventsTopic, shard).end())
	return s
}

func (b *broker) makeAnew(names []string) {
	for _, name := range names {
		t := b.topics[name]
		t.id += 100
		for n := range t.shards {
			p := &partition{}
			if b.w.rng.IntN(2) == 0 { // offsets may outlive their topic
				p.committed = t.shards[n].committed
			}
			t.shards[n] = p
		}
	}
}

// truncate cuts the log off, and puts other messages in the place of what was there, now and then.
func (b *broker) truncate(shard int) (cut int64) {
	p := b.part(eventsTopic, shard)
	if p.end() == p.start {
		return p.end()
	}
	cut = p.start + b.w.rng.Int64N(p.end()-p.start)
	lost := p.end() - cut
	p.msgs, p.by, p.reached = p.msgs[:cut], p.by[:cut], p.reached[:cut]
	p.committed = min(p.committed, cut)
	again := b.w.rng.Int64N(lost + 3)
	if again == lost { // who writes on at the same offset can't know, and the store does
		again++
	}
	for range again {
		b.w.foreignCommitTo(shard)
	}
	return cut
}

// checkDisaster looks whether all have stopped who must, and have said why.
func (w *World) checkDisaster() {
	for _, p := range w.workers() {
		if !p.up {
			p.open()
		}
		for n, s := range p.stands {
			if s.bound && p.up {
				w.checkStopped(p, n, &s)
			}
		}
	}
}

// sameBefore tells whether the message before an offset is the one that was there before the disaster.
func (w *World) sameBefore(shard int, offset int64) bool {
	now, was := w.broker.part(eventsTopic, shard).msgs, w.gone[shard]
	at := int(offset - 1)
	return at >= 0 && at < len(now) && at < len(was) && bytes.Equal(now[at].Value, was[at].Value)
}

// wroteOn tells whether others had written again exactly as much as was lost when a process, which had not read that, appended what follows.
func (p *proc) wroteOn(shard int, s *stand) bool {
	by := p.w.broker.part(eventsTopic, shard).by
	for at := int(s.offset); at < len(by) && at <= len(p.w.gone[shard]); at++ {
		if by[at] == p {
			return at > 0 && by[at-1] != p
		}
	}
	return false
}

func (w *World) checkStopped(p *proc, shard int, s *stand) {
	if now := w.readLedger(shard).digests; w.disaster == truncated && s.t < uint64(len(now)) && now[s.t] == s.digest {
		w.count("the log was written again as it was") // the same commands were decided again: to go on is right
		return
	}
	if w.disaster == truncated && w.sameBefore(shard, s.offset) {
		w.count("the same message where another log was") // it is all that a process can compare
		return
	}
	if w.disaster == truncated && p.wroteOn(shard, s) {
		w.count("an owner wrote on where others had written what was lost") // in a program it looks at what it had applied, twice a second
		return
	}
	digest, t := p.rt.Shard(shard).Digest()
	ended := t > s.t && t < uint64(len(w.lost[shard])) && digest == w.lost[shard][t]                // what it had appended before, or read
	rebuilt := p.process.Version(shard) != s.shown.version && t < s.t && digest == w.lost[shard][t] // from a store that was behind
	if rebuilt {
		w.count("an earlier version was further, and then a disaster")
	}
	if !ended && !rebuilt && (t != s.t || digest != s.digest) {
		w.fault("16: %s: process %d was at t %d of shard %d and went on to t %d", w.disaster, p.n, s.t, shard, t)
		return
	}
	_, err := p.process.Follow(context.Background(), shard)
	if err == nil {
		_, err = p.process.Own(context.Background(), shard)
	}
	if err == nil {
		w.fault("16: %s: process %d does not stop at t %d of shard %d", w.disaster, p.n, s.t, shard)
		return
	}
	text := err.Error()
	if !strings.Contains(text, "made again") && !strings.Contains(text, "truncated") && !strings.Contains(text, "holds another message") {
		w.fault("16: %s: process %d stops at t %d of shard %d and does not say why: %v", w.disaster, p.n, s.t, shard, err)
		return
	}
	w.count("stopped after: " + w.disaster.String())
}
