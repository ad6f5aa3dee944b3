package sim

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
)

// The topics, in the order of cqrs.Topics.
const (
	commandsTopic = "commands"
	eventsTopic   = "events"
	feedbackTopic = "feedback"
	deadTopic     = "dead"
)

// broker is what carries messages. It keeps all that was ever appended; retention only moves the start.
type broker struct {
	w      *World
	topics map[string]*topic
	late   []flight
}

type topic struct {
	id     int
	shards []*partition
}

type partition struct {
	start     int64
	msgs      []queue.Message // all, by offset
	by        []*proc         // who appended them; nil: another program
	heard     []heard         // what they say, of processes' feedback
	given     map[int64]int   // how often an owner was given a command, by offset
	reached   []uint64        // the t that somebody had come to when they were
	committed int64
	highest   int64 // the highest committed
}

// flight is an append that may yet land.
type flight struct {
	topic string
	shard int
	by    *proc
	msgs  []queue.Message
	due   int
}

func newBroker(w *World) *broker {
	b := &broker{w: w, topics: map[string]*topic{}}
	for i, name := range cqrs.Topics() {
		t := &topic{id: i + 1}
		for range w.shards {
			t.shards = append(t.shards, &partition{})
		}
		b.topics[name] = t
	}
	return b
}

func (b *broker) part(topic string, shard int) *partition { return b.topics[topic].shards[shard] }

// messages is how many there are in the topics that are worked through.
func (b *broker) messages() (n int) {
	for _, name := range []string{commandsTopic, eventsTopic} {
		for _, p := range b.topics[name].shards {
			n += len(p.msgs)
		}
	}
	return n
}

func (b *broker) commands() (n int) {
	for _, p := range b.topics[commandsTopic].shards {
		n += len(p.msgs)
	}
	return n
}

func (p *partition) end() int64 { return int64(len(p.msgs)) }

func cloneMessage(m queue.Message) queue.Message {
	m.Key, m.Value, m.Headers = bytes.Clone(m.Key), bytes.Clone(m.Value), slices.Clone(m.Headers)
	for i := range m.Headers {
		m.Headers[i].Value = bytes.Clone(m.Headers[i].Value)
	}
	return m
}

func cloneMessages(msgs []queue.Message) []queue.Message {
	out := make([]queue.Message, len(msgs))
	for i := range msgs {
		out[i] = cloneMessage(msgs[i])
	}
	return out
}

// add puts a message at the end.
func (b *broker) add(topic string, shard int, by *proc, m queue.Message) int64 {
	p := b.part(topic, shard)
	m = cloneMessage(m)
	m.Offset = p.end()
	p.msgs, p.by, p.reached = append(p.msgs, m), append(p.by, by), append(p.reached, b.w.reached[shard])
	text := ""
	if topic == commandsTopic || topic == eventsTopic {
		text = hex.EncodeToString(m.Value)
	}
	b.w.note("add", topic, strconv.Itoa(shard), strconv.FormatInt(m.Offset, 10), text)
	b.w.watchAdd(topic, shard, by, &p.msgs[m.Offset])
	return m.Offset
}

// land has appends land that were on their way.
func (b *broker) land() {
	for i := 0; i < len(b.late); {
		f := b.late[i]
		if f.due > b.w.ticks {
			i++
			continue
		}
		b.late = slices.Delete(b.late, i, i+1)
		for _, m := range f.msgs {
			b.add(f.topic, f.shard, f.by, m)
		}
	}
}

// overtakes draws whether what is still on its way to a partition lands in the midst of what is appended now.
func (b *broker) overtakes(topic string, shard int) bool {
	for _, f := range b.late {
		if f.topic == topic && f.shard == shard && b.w.has(appendSplit) && b.w.rng.IntN(3) == 0 {
			b.w.count("an append overtaken by an earlier one")
			return true
		}
	}
	return false
}

// hurry has what is on its way to a partition land now.
func (b *broker) hurry(topic string, shard int) {
	for i := range b.late {
		if b.late[i].topic == topic && b.late[i].shard == shard {
			b.late[i].due = 0
		}
	}
	b.land()
}

// settle lets what is on its way land, or be lost.
func (b *broker) settle() {
	for i := range b.late {
		b.late[i].due = 0
		if b.w.rng.IntN(2) == 0 {
			b.late[i].msgs = nil
		}
	}
	b.land()
}

// link is a process's connection to the broker.
type link struct {
	b    *broker
	proc *proc
}

var errNetwork = errors.New("sim: the broker does not answer")

func unknown() error { return fmt.Errorf("%w: %w", queue.ErrUnknown, errNetwork) }

func (l *link) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	w := l.b.w
	w.before("append to " + topic)
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range msgs {
		if n := msgs[i].Size(); n > l.Limit() {
			return &queue.TooLargeError{Topic: topic, Size: n, Limit: l.Limit()}
		}
	}
	w.watchAppend(topic, shard, l.proc, msgs)
	err := l.append(topic, shard, msgs)
	w.after("append to " + topic)
	return err
}

// append has one of the outcomes that the contract allows.
func (l *link) append(topic string, shard int, msgs []queue.Message) error {
	w := l.b.w
	switch {
	case w.happens(appendRefused):
		return errNetwork
	case w.happens(appendLost):
		return unknown()
	case w.happens(appendTimeout):
		l.add(topic, shard, msgs)
		return unknown()
	case w.happens(appendLate):
		l.later(topic, shard, msgs)
		return unknown()
	case w.happens(appendTwice):
		l.later(topic, shard, msgs)
		l.add(topic, shard, msgs)
		return unknown()
	case len(msgs) > 1 && w.happens(appendPart):
		l.add(topic, shard, msgs[:1+w.lot.IntN(len(msgs)-1)])
		return unknown()
	case len(msgs) > 1 && (w.happens(appendSplit) || l.b.overtakes(topic, shard)):
		at := 1 + w.rng.IntN(len(msgs)-1)
		l.add(topic, shard, msgs[:at])
		l.b.hurry(topic, shard)
		w.pass()
		l.add(topic, shard, msgs[at:])
		return nil
	}
	l.add(topic, shard, msgs)
	return nil
}

func (l *link) add(topic string, shard int, msgs []queue.Message) {
	for i := range msgs {
		msgs[i].Offset = l.b.add(topic, shard, l.proc, msgs[i])
	}
}

func (l *link) later(topic string, shard int, msgs []queue.Message) {
	l.b.late = append(l.b.late, flight{topic, shard, l.proc, cloneMessages(msgs), l.b.w.ticks + l.b.w.lot.IntN(400)})
}

func (l *link) Read(ctx context.Context, topic string, shard int, from int64, most int) ([]queue.Message, error) {
	w := l.b.w
	w.before("read " + topic)
	for range 4 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if w.happens(readFails) {
			return nil, errNetwork
		}
		msgs, err := l.b.read(topic, shard, from, most)
		if err != nil || len(msgs) > 0 {
			w.after("read " + topic)
			return msgs, err
		}
		w.pass()
	}
	return nil, context.DeadlineExceeded
}

// read gives fewer messages than there are, now and then.
func (b *broker) read(topic string, shard int, from int64, most int) ([]queue.Message, error) {
	p := b.part(topic, shard)
	if from < p.start || from > p.end() {
		return nil, &queue.RangeError{Topic: topic, Shard: shard, Want: from, Start: p.start, End: p.end()}
	}
	n := min(int64(most), p.end()-from)
	if n > 1 && !b.w.calm && b.w.rng.IntN(3) == 0 {
		n = 1 + b.w.rng.Int64N(n)
	}
	return cloneMessages(p.msgs[from : from+n]), nil
}

func (l *link) Poll(topic string, shard int, from int64, most int) ([]queue.Message, error) {
	w := l.b.w
	w.before("poll " + topic)
	if w.happens(readFails) {
		return nil, errNetwork
	}
	if !w.calm && w.rng.IntN(8) == 0 {
		return nil, nil
	}
	msgs, err := l.b.read(topic, shard, from, most)
	l.b.part(topic, shard).give(msgs)
	w.after("poll " + topic)
	return msgs, err
}

func (p *partition) give(msgs []queue.Message) {
	if p.given == nil {
		p.given = map[int64]int{}
	}
	for i := range msgs {
		p.given[msgs[i].Offset]++
	}
}

func (l *link) Notify(string, int, func()) (stop func()) { return func() {} }

func (l *link) Bounds(ctx context.Context, topic string, shard int) (start, end int64, err error) {
	w := l.b.w
	w.before("bounds of " + topic)
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	if w.happens(boundsFail) {
		return 0, 0, errNetwork
	}
	p := l.b.part(topic, shard)
	start, end = p.start, p.end()
	w.after("bounds of " + topic)
	return start, end, nil
}

func (l *link) Commit(ctx context.Context, topic string, shard int, next int64) error {
	w := l.b.w
	w.before("commit of " + topic)
	if err := ctx.Err(); err != nil {
		return err
	}
	w.watchCommit(topic, shard, next)
	switch {
	case w.happens(commitFails):
		return errNetwork
	case w.happens(commitLost):
	default:
		p := l.b.part(topic, shard)
		next = max(next, p.start) // one who does not own the shard any more is refused
		p.committed, p.highest = next, max(p.highest, next)
		w.note("commit", topic, strconv.Itoa(shard), strconv.FormatInt(next, 10))
	}
	w.after("commit of " + topic)
	return nil
}

func (l *link) Committed(ctx context.Context, topic string, shard int) (int64, error) {
	w := l.b.w
	w.before("committed of " + topic)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if w.happens(boundsFail) {
		return 0, errNetwork
	}
	at := l.b.part(topic, shard).committed
	w.after("committed of " + topic)
	return at, nil
}

func (l *link) Own(context.Context, string, func(context.Context, int) error) error {
	return errors.New("sim: shards are given out by the scheduler")
}

func (l *link) Shards(context.Context, string) (int, error) { return l.b.w.shards, nil }

func (l *link) Identity(_ context.Context, topic string) (string, error) {
	return topic + "-" + strconv.Itoa(l.b.topics[topic].id), nil
}

func (l *link) Limit() int { return 1 << 20 }

func (l *link) Close() error { return nil }
