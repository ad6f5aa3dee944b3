package sim

import (
	"encoding/hex"
	"encoding/json"
	"strconv"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// heard is a message of the feedback queue.
type heard struct {
	command uuid.UUID
	payload [16]byte
	t       uint64
	err     *cqrs.Error
	failed  bool
	index   int
	count   int
}

func readHeard(m *queue.Message) (h heard, ok bool) {
	ce, is, err := cloudevents.Decode(m)
	if err != nil || !is {
		return h, false
	}
	if h.command, err = uuid.Parse(ce.Attr("commandid")); err != nil {
		return h, false
	}
	_, _ = hex.Decode(h.payload[:], []byte(ce.Attr("payload")))
	h.t, _ = strconv.ParseUint(ce.Attr("t"), 10, 64)
	h.index, _ = strconv.Atoi(ce.Attr("index"))
	h.count, _ = strconv.Atoi(ce.Attr("count"))
	if ce.Type == "cqrs/refused" || ce.Type == "cqrs/failed" {
		h.err, h.failed = new(cqrs.Error), ce.Type == "cqrs/failed"
		_ = json.Unmarshal(ce.Data, h.err)
	}
	return h, true
}

// watchAdd sees every message as it is appended.
func (w *World) watchAdd(topic string, shard int, by *proc, m *queue.Message) {
	if topic != feedbackTopic || by == nil {
		return
	}
	if h, ok := readHeard(m); ok {
		w.told[shard][placeOf(h.command, h.payload)] = true
		p := w.broker.part(topic, shard)
		p.heard = append(p.heard, h)
	}
}

// watchAppend sees what a process is about to append. Feedback may be told when the effect can be read at its t (invariant 14).
func (w *World) watchAppend(topic string, shard int, by *proc, msgs []queue.Message) {
	if topic != feedbackTopic {
		return
	}
	if by.sender {
		return
	}
	shows := by.rt.Shard(shard).View().T()
	for i := range msgs {
		if h, ok := readHeard(&msgs[i]); ok && h.err == nil && h.t > shows {
			w.fault("14: process %d tells of t %d of shard %d, and shows t %d", by.n, h.t, shard, shows)
		}
	}
}

// watchCommit sees every offset that is noted: what is before it must have had its effect (invariant 15).
func (w *World) watchCommit(topic string, shard int, next int64) {
	switch topic {
	case commandsTopic:
		w.watchHandled(shard, next)
	case eventsTopic:
		w.watchSettled(shard, next)
	}
}

func (w *World) watchHandled(shard int, next int64) {
	told := w.told[shard]
	p := w.broker.part(commandsTopic, shard)
	first := p.start
	if w.remedied != none {
		first = max(first, w.bases[shard].commands)
	}
	for i := first; i < min(next, p.end()); i++ {
		if q := readRequest(p.msgs[i]); !q.bad && !told[placeOf(q.id, q.payload)] {
			w.fault("15: the commands of shard %d are noted as handled up to %d, and %s (%s, offset %d) was not told of",
				shard, next, q.id, q.typ, i)
		}
	}
	if next > p.end() {
		w.fault("15: the commands of shard %d are noted as handled up to %d, and end at %d", shard, next, p.end())
	}
}

func (w *World) watchSettled(shard int, next int64) {
	if p := w.broker.part(eventsTopic, shard); next > p.end() {
		w.fault("15: the log of shard %d is noted as settled up to %d, and ends at %d", shard, next, p.end())
	}
}

// watchError sees every error of a worker.
func (w *World) watchError(p *proc, shard int, err error) {}

// watchDigest is invariant 5 while things go on: at one t all show one digest.
func (w *World) watchDigest(p *proc, shard int) {
	digest, t := p.rt.Shard(shard).Digest()
	w.reached[shard] = max(w.reached[shard], t)
	first, known := w.digests[shard][t]
	if !known {
		w.digests[shard][t] = digest
		w.tracef("first at t %d: %x", t, digest[:4])
	} else if first != digest {
		w.fault("5: process %d has the digest %x at t %d of shard %d, and another had %x", p.n, digest[:4], t, shard, first[:4])
	}
}

// shown is what a process has shown of a shard since it was started.
type shown struct {
	t       uint64
	version string
}

func (p *proc) shows() []shown {
	list := make([]shown, p.w.shards)
	for n := range list {
		if !p.sender {
			list[n] = shown{p.rt.Shard(n).View().T(), p.process.Version(n)}
		}
	}
	return list
}

// watchLasting is invariant 12 where a process comes back: what it had shown it has.
func (p *proc) watchLasting() {
	before := p.shown
	p.shown = p.shows()
	for n := range before {
		if now := p.shown[n]; now.t < before[n].t {
			p.w.fault("12: process %d showed t %d of shard %d, and has come back with t %d", p.n, before[n].t, n, now.t)
		}
	}
}

// watchShown is invariant 8 while things go on: what a process shows does not go back, whichever version of the aggregate serves.
func (p *proc) watchShown(shard int) {
	before, now := p.shown[shard], shown{p.rt.Shard(shard).View().T(), p.process.Version(shard)}
	if p.dying { // what it did after its power was cut is undone, and nobody saw it
		return
	}
	if now.t < before.t {
		p.w.fault("8: process %d showed t %d of shard %d, and then t %d", p.n, before.t, shard, now.t)
	}
	if now.version != before.version {
		p.w.count("next version took over")
	}
	p.shown[shard] = now
}
