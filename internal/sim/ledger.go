package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// ledger is what the messages of a shard mean, read with none of the library's code but that for records.
type ledger struct {
	w        *World
	shard    int
	from     int64          // what is before that offset may be about commands that are gone
	new      int64          // the commands before that offset may have ended in any way
	accepted []store.Record // t is the index and one
	at       []int64        // their offsets
	digests  [][32]byte     // after t commits
	states   []*state       // after t commits
	byID     map[uuid.UUID]uint64
	refused  map[uuid.UUID]refusal
	commands []request // by offset
	byPlace  map[[32]byte][]*request
}

type refusal struct {
	payload [16]byte
	offset  int64
	after   uint64 // the t it was decided at
	err     *cqrs.Error
}

// request is a message of the command queue.
type request struct {
	offset   int64
	bad      bool // it is no command
	id       uuid.UUID
	typ, key string
	time     int64
	basis    *uint64
	data     []byte
	payload  [16]byte
}

func (w *World) readLedger(shard int) *ledger {
	l := w.newLedger(shard)
	for _, m := range w.broker.part(eventsTopic, shard).msgs {
		l.take(m)
	}
	return l
}

// newLedger has read the commands.
func (w *World) newLedger(shard int) *ledger {
	l := &ledger{w: w, shard: shard, byID: map[uuid.UUID]uint64{}, refused: map[uuid.UUID]refusal{}, byPlace: map[[32]byte][]*request{}}
	l.digests, l.states = [][32]byte{{}}, []*state{newState()}
	for _, m := range w.broker.part(commandsTopic, shard).msgs {
		l.commands = append(l.commands, readRequest(m))
	}
	for i := range l.commands {
		r := &l.commands[i]
		if !r.bad {
			place := placeOf(r.id, r.payload)
			l.byPlace[place] = append(l.byPlace[place], r)
		}
	}
	return l
}

func placeOf(id uuid.UUID, payload [16]byte) (p [32]byte) {
	copy(p[:], id[:])
	copy(p[16:], payload[:])
	return p
}

// take is the rule of acceptance.
func (l *ledger) take(m queue.Message) {
	v := m.Value
	if len(v) < 3 || v[0] != 0xc8 || v[1] != 1 {
		return
	}
	switch v[2] {
	case 1:
		l.takeCommit(m.Offset, 0, v[3:])
	case 3:
		if len(v) >= 11 {
			l.takeCommit(m.Offset, int64(binary.BigEndian.Uint64(v[3:])), v[11:])
		}
	case 2:
		l.takeRefusal(m.Offset, v[3:])
	}
}

// takeCommit takes a commit whose writer knows the log from an offset on.
func (l *ledger) takeCommit(offset, knows int64, b []byte) {
	var r store.Record
	if r.Decode(b) != nil {
		return
	}
	_, again := l.byID[r.Command]
	refusal, no := l.refused[r.Command]
	if no && !again && refusal.offset < knows && (r.Prev == nil || bytes.Equal(r.Prev, l.digest())) {
		l.w.count("accepted after a refusal that was forgotten")
		delete(l.refused, r.Command)
		no = false
	}
	switch {
	case again:
		l.w.count("duplicate commit in the log")
		return
	case no:
		l.w.count("commit of a refused command in the log")
		return
	case r.Prev != nil && !bytes.Equal(r.Prev, l.digest()):
		l.w.count("void commit")
		return
	}
	if c := l.accept(&r, b, offset); offset >= l.from {
		l.checkCommit(c)
	}
}

// accept folds a commit.
func (l *ledger) accept(r *store.Record, b []byte, offset int64) *store.Record {
	r.Shard, r.T = l.shard, uint64(len(l.accepted)+1)
	h := sha256.New()
	h.Write(l.digest())
	h.Write(b)
	l.digests = append(l.digests, [32]byte(h.Sum(nil)))
	l.accepted, l.at = append(l.accepted, *r), append(l.at, offset)
	l.byID[r.Command] = r.T
	l.follow(&l.accepted[r.T-1])
	return &l.accepted[r.T-1]
}

func (l *ledger) digest() []byte { return l.digests[len(l.digests)-1][:] }

func (l *ledger) takeRefusal(offset int64, b []byte) {
	if len(b) < 64 {
		return
	}
	id := uuid.UUID(b[:16])
	_, again := l.byID[id]
	_, no := l.refused[id]
	switch {
	case again || no:
		l.w.count("duplicate refusal in the log")
		return
	case !bytes.Equal(b[32:64], l.digest()):
		l.w.count("void refusal")
		return
	}
	r := refusal{[16]byte(b[16:32]), offset, uint64(len(l.accepted)), new(cqrs.Error)}
	if json.Unmarshal(b[64:], r.err) != nil {
		l.w.fault("7: the refusal of %s can't be read", id)
	}
	if l.refused[id] = r; offset >= l.from {
		l.checkRefusal(id, &r)
	}
}

// follow folds an accepted commit.
func (l *ledger) follow(r *store.Record) {
	next := l.states[len(l.states)-1].clone()
	for i, e := range r.Events {
		if e.Type == "cqrs/refolded" {
			l.refold(next, r, i)
			continue
		}
		value, err := decodeEvent(e.Type, e.Data)
		if value == nil && err == nil {
			continue
		}
		if err == nil {
			err = next.fold(value, r.T)
		}
		if err != nil {
			next.failed[failedPlace(r.T, i)] = failed{r.T, e.Type}
			l.w.count("failed fold")
		}
	}
	l.states = append(l.states, next)
}

func failedPlace(t uint64, index int) string { return fmt.Sprintf("%d/%d", t, index) }

// refoldEvent is the event of the library's own that has a failed fold be tried again.
type refoldEvent struct {
	T     uint64          `json:"t"`
	Index int             `json:"index"`
	Type  string          `json:"type"`
	Data  json.RawMessage `json:"data"`
}

func (l *ledger) refold(s *state, r *store.Record, i int) {
	var e refoldEvent
	if err := json.Unmarshal(r.Events[i].Data, &e); err != nil {
		l.w.fault("4: event %d of t %d can't be read: %v", i, r.T, err)
		return
	}
	value, err := decodeEvent(e.Type, e.Data)
	if err == nil && value != nil {
		err = s.fold(value, r.T)
	}
	if err == nil {
		delete(s.failed, failedPlace(e.T, e.Index))
		l.w.count("folded again")
	}
}

// checkCommit is invariants 4, 6 and 7: an accepted commit against what the model decides.
func (l *ledger) checkCommit(r *store.Record) {
	if r.Code == "foreign" {
		l.w.count("foreign commit accepted")
		return
	}
	list := l.byPlace[placeOf(r.Command, r.Payload)]
	if len(list) == 0 {
		l.w.fault("1: t %d of shard %d is command %s, which nobody sent", r.T, l.shard, r.Command)
		return
	}
	var all []string // what is wrong, if it is this one: a command may have been sent several times, each with a time and basis of its own
	for _, q := range list {
		c := checking{ledger: l, r: r, q: q}
		c.checkRequest()
		if len(c.faults) == 0 {
			for _, what := range c.counts {
				l.w.count(what)
			}
			return
		}
		all = append(all, c.faults...)
	}
	for _, f := range all {
		l.w.fault("%s", f)
	}
}

// checking compares a commit with a command that may be its own.
type checking struct {
	*ledger
	r      *store.Record
	q      *request
	faults []string
	counts []string
}

func (c *checking) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *checking) checkRequest() {
	r, q := c.r, c.q
	if r.Time != q.time || r.Key != q.key || r.CommandType != q.typ {
		c.fault("4: t %d (%s %s) has time %d, key %q, and the command has %d, %q", r.T, r.CommandType, r.Command, r.Time, r.Key, q.time, q.key)
	}
	if q.basis != nil && *q.basis != r.Basis {
		c.fault("4: t %d (%s %s) has basis %d, and the command has %d", r.T, r.CommandType, r.Command, r.Basis, *q.basis)
	}
	if q.typ == "cqrs/refold" {
		return
	}
	command := decodeCommand(q.typ, r.Code, q.data)
	if command == nil {
		c.fault("1: t %d of shard %d is of the command type %q", r.T, c.shard, q.typ)
		return
	}
	c.checkDecision(command)
}

func (l *checking) checkDecision(c decider) {
	r, q := l.r, l.q
	before := r.T - 1
	at := before
	consistency := consistencyOf(c)
	if consistency != cqrs.Serializable && q.basis != nil {
		at = *q.basis
	}
	if at > before {
		l.fault("6: t %d (%s) was decided at its basis %d", r.T, q.typ, at)
		return
	}
	free := consistency == cqrs.AsOfBasis && q.basis != nil
	switch {
	case free && r.Prev != nil:
		l.counts = append(l.counts, "rooted in its own batch")
	case free == (r.Prev != nil):
		l.fault("6: t %d (%s) has prev: %v", r.T, q.typ, r.Prev != nil)
	}
	if at < before {
		l.counts = append(l.counts, "decided in the past: "+q.typ)
	}
	view := &reading{state: l.states[at]}
	d := &deciding{command: r.Command, time: time.UnixMilli(q.time).UTC(), t: at}
	out := decide(c, view, d)
	if consistency == cqrs.Unchanged && view.changed(l.states[before], at) {
		l.fault("6: t %d (%s %s) was accepted, and what it read at t %d had changed", r.T, q.typ, r.Command, at)
	}
	if out.refused != nil || out.defect != nil {
		l.fault("6: t %d (%s %s) was accepted, and must end with: %v %v", r.T, q.typ, r.Command, out.refused, out.defect)
		return
	}
	l.compare(out.events)
	if len(d.remarks) > 0 != (len(r.Remarks) > 0) {
		l.fault("7: t %d (%s) has remarks: %s", r.T, q.typ, r.Remarks)
	}
}

func (l *checking) compare(want []cqrs.Event) {
	r, q := l.r, l.q
	if len(want) != len(r.Events) {
		l.fault("7: t %d (%s %s) has %d events, and must have %d", r.T, q.typ, r.Command, len(r.Events), len(want))
		return
	}
	for i, e := range want {
		data, _ := json.Marshal(e)
		got := r.Events[i]
		if got.Type != e.EventType() || !bytes.Equal(got.Data, data) {
			l.fault("6: event %d of t %d (%s, code %s) is %s %s, and must be %s", i, r.T, q.typ, r.Code, got.Type, got.Data, data)
		}
		if got.ID != ids.Event(r.Command, i, "0") {
			l.fault("4: event %d of t %d has the id %s", i, r.T, got.ID)
		}
	}
}

// checkRefusal is invariant 6 for a command that was refused.
func (l *ledger) checkRefusal(id uuid.UUID, r *refusal) {
	list := l.byPlace[placeOf(id, r.payload)]
	if len(list) == 0 {
		l.w.fault("1: command %s was refused, and nobody sent it", id)
		return
	}
	l.w.count("refused: " + r.err.Tag)
	for _, q := range list {
		for _, code := range []string{"1", "2"} {
			if q.typ == "cqrs/refold" || l.refuses(decodeCommand(q.typ, code, q.data), q, r.after) {
				return
			}
		}
	}
	l.w.fault("6: command %s (%s) was refused at t %d (%v), and must be accepted", id, list[0].typ, r.after, r.err)
}

func (l *ledger) refuses(c decider, q *request, now uint64) bool {
	at := now
	if c == nil {
		return false
	}
	if consistencyOf(c) != cqrs.Serializable && q.basis != nil {
		at = min(*q.basis, now)
	}
	view := &reading{state: l.states[at]}
	out := decide(c, view, &deciding{command: q.id, time: time.UnixMilli(q.time).UTC(), t: at})
	return out.refused != nil || consistencyOf(c) == cqrs.Unchanged && view.changed(l.states[now], at)
}

// readRequest reads a command of the library's own form, or a CloudEvent.
func readRequest(m queue.Message) request {
	if len(m.Value) > 0 && m.Value[0] == 0xc9 {
		return readOwn(m)
	}
	ce, is, err := cloudevents.Decode(&m)
	if err != nil || !is {
		return request{offset: m.Offset, bad: true}
	}
	r := request{offset: m.Offset, typ: ce.Type, key: ce.Subject, time: ce.Time.UnixMilli(), data: ce.Data}
	if r.id, err = uuid.Parse(ce.ID); err != nil {
		r.id = ids.Foreign(ce.Source, ce.ID)
	}
	if b := ce.Attr("basis"); b != "" {
		var basis uint64
		if _, err := fmt.Sscan(b, &basis); err == nil {
			r.basis = &basis
		}
	}
	r.sum()
	return r
}

func (r *request) sum() {
	b := appendText(appendText(nil, r.typ), r.key)
	sum := sha256.Sum256(append(b, r.data...))
	r.payload = [16]byte(sum[:16])
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errShort = errors.New("cut off")

func readOwn(m queue.Message) (r request) {
	r.offset, r.key = m.Offset, string(m.Key)
	if err := r.read(m.Value); err != nil {
		return request{offset: m.Offset, bad: true}
	}
	r.sum()
	return r
}

func (r *request) read(b []byte) error {
	if len(b) < 18 || b[1] != 1 {
		return errShort
	}
	r.id = uuid.UUID(b[2:18])
	b = b[18:]
	t, n := binary.Varint(b)
	if n <= 0 || len(b) < n+1 {
		return errShort
	}
	r.time = t
	has := b[n]
	if b = b[n+1:]; has == 1 {
		basis, n := binary.Uvarint(b)
		if n <= 0 {
			return errShort
		}
		r.basis, b = &basis, b[n:]
	}
	texts := []string{}
	for count := uint64(2); count > 0; count-- {
		size, n := binary.Uvarint(b)
		if n <= 0 || uint64(len(b)-n) < size {
			return errShort
		}
		texts = append(texts, string(b[n:n+int(size)]))
		b = b[n+int(size):]
		if len(texts) == 2 {
			traces, n := binary.Uvarint(b)
			if n <= 0 || traces > 100 {
				return errShort
			}
			b, count = b[n:], 2*traces+1
		}
	}
	r.typ, r.data = texts[0], b
	return nil
}
