package cqrs

import (
	"context"

	"github.com/cqrs-server/cqrs/queue"
)

// While a batch's feedback is on its way to the queue, the next batch is walked: senders in this process know how their commands
// ended when the aggregate is committed, and nobody else waits for the batch after it. But what a batch brought to its end is settled
// and handled only when its feedback has arrived. If it does not arrive, both batches come again.

// telling is feedback on its way.
type telling struct {
	arrived chan error // nil when there is none
	msgs    []queue.Message
	spare   []queue.Message // memory of the one before
}

// send begins to tell what the batch has for the feedback queue.
func (v *served) send(ctx context.Context) {
	t := &v.telling
	msgs, arrived := v.told, make(chan error, 1)
	t.msgs, t.arrived, v.told, t.spare = msgs, arrived, t.spare[:0], nil
	ctx = context.WithoutCancel(ctx) // the queue has bounds of its own
	go func() { arrived <- v.appendTo(ctx, topicFeedback, msgs) }()
}

// arrive waits for feedback that is on its way.
func (v *served) arrive() error {
	t := &v.telling
	if t.arrived == nil {
		return nil
	}
	err := <-t.arrived
	t.arrived = nil
	if err != nil {
		t.msgs = nil
		v.reached = offsets{v.settled, v.handled}
		return err
	}
	v.heardOwn(t.msgs)
	clear(t.msgs)
	t.msgs, t.spare = nil, t.msgs[:0]
	v.reach()
	return nil
}

// heardOwn notes feedback that this process need not hear.
func (v *served) heardOwn(msgs []queue.Message) {
	if len(msgs) > 0 {
		v.shard.heardUpTo(msgs[len(msgs)-1].Offset + 1)
		v.heard.note(v.shard.heardAll.Load())
	}
}

// reach takes what was reached as settled and handled, unless its feedback is on its way.
func (v *served) reach() {
	if v.telling.arrived == nil {
		v.settled, v.handled = v.reached.settled, v.reached.handled
	}
}
