package cqrs

import (
	"context"

	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/queue"
)

// While the feedback of some batches is on its way to the queue, the next ones are walked: senders in this process know how their commands
// ended when the aggregate is committed, and nobody else waits for the batch after it. But what a batch brought to its end is settled
// and handled only when its feedback has arrived, and that of all before it. If it does not arrive, all that is not settled comes again.

// tellings is how many batches' feedback may be on its way. The queue adds together what waits.
const tellings = 4

// telling is the feedback on its way, the oldest first.
type telling struct {
	ctx   context.Context // lasts a little longer than the work
	way   []*told
	spare []memory // of what has arrived
}

// memory is what a batch's feedback is written into.
type memory struct {
	msgs   []queue.Message
	writer cloudevents.Writer
}

// told is a batch's feedback on its way.
type told struct {
	memory
	reached offsets       // what is settled and handled when it has arrived
	done    chan struct{} // closed when err is known
	err     error
}

// send begins to tell what the batch has for the feedback queue.
func (v *served) send() {
	t := &v.telling
	f := &told{memory: v.told, reached: offsets{v.settled, v.handled}, done: make(chan struct{})}
	t.way, v.told = append(t.way, f), memory{}
	if n := len(t.spare); n > 0 {
		v.told, t.spare = t.spare[n-1], t.spare[:n-1]
	}
	go func() {
		f.err = v.appendTo(t.ctx, topicFeedback, f.msgs)
		close(f.done)
	}()
}

// arrive takes what has arrived, and waits until no more than most are on their way.
func (v *served) arrive(most int) error {
	t := &v.telling
	for len(t.way) > most || len(t.way) > 0 && t.way[0].ended() {
		f := t.way[0]
		<-f.done
		if f.err != nil {
			v.giveUp()
			return f.err
		}
		v.heardOwn(f.msgs)
		v.settled, v.handled = f.reached.settled, f.reached.handled
		t.way = append(t.way[:0], t.way[1:]...)
		f.reset()
		t.spare = append(t.spare, f.memory)
	}
	return nil
}

func (m *memory) reset() {
	clear(m.msgs)
	m.msgs = m.msgs[:0]
	m.writer.Reset()
}

func (f *told) ended() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// giveUp forgets what is on its way behind feedback that has not arrived: it is told again, in its order.
func (v *served) giveUp() {
	for _, f := range v.telling.way {
		<-f.done
	}
	v.telling.way = nil
	v.reached = offsets{v.settled, v.handled}
}

// arriving is closed when the oldest feedback has ended its way; nil when there is none.
func (v *served) arriving() <-chan struct{} {
	if len(v.telling.way) == 0 {
		return nil
	}
	return v.telling.way[0].done
}

// heardOwn notes feedback that this process need not hear.
func (v *served) heardOwn(msgs []queue.Message) {
	if len(msgs) > 0 {
		v.shard.heardUpTo(msgs[len(msgs)-1].Offset + 1)
		v.heard.note(v.shard.heardAll.Load())
	}
}

// reach takes what was reached as settled and handled, or has it wait for the feedback that is on its way.
func (v *served) reach() {
	if n := len(v.telling.way); n > 0 {
		v.telling.way[n-1].reached = v.reached
		return
	}
	v.settled, v.handled = v.reached.settled, v.reached.handled
}
