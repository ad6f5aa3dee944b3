package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cqrs-server/cqrs/internal/fail"
)

// idle says that a batch has nothing to flush or to acknowledge.
func (e *Engine) idle() bool { return e.hooks.Begin == nil && e.done() == 0 }

func (e *Engine) done() int {
	sum := 0
	for _, in := range e.inputs {
		sum += in.done
	}
	return sum
}

func (e *Engine) flush(ctx context.Context) error {
	if e.idle() {
		return nil
	}
	if err := e.prepare(ctx); err != nil {
		return err
	}
	for _, n := range e.order {
		if err := n.flush(ctx); err != nil {
			return err
		}
	}
	fail.Here("commit")
	if e.hooks.Commit != nil {
		if err := e.hooks.Commit(ctx); err != nil {
			return fmt.Errorf("workflow: commit: %w", err)
		}
	}
	return nil
}

// prepare asks all that take part in a transaction, before anything is flushed.
func (e *Engine) prepare(ctx context.Context) error {
	for _, n := range e.order {
		if err := n.prepare(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) prepare(ctx context.Context) error {
	fail.At("prepare", n.name)
	if n.in != nil && n.in.asked {
		if p, ok := n.in.source.(AckPreparer); ok {
			return n.wrap("prepare the ack", p.PrepareAck(ctx, n.in.done))
		}
	}
	if p, ok := n.task.Out.(Preparer); ok {
		return n.wrap("prepare", p.Prepare(ctx, n.gathered))
	}
	return nil
}

func (n *node) flush(ctx context.Context) error {
	fail.At("flush", n.name)
	if n.task.Kind == Output {
		if err := n.task.Out.Flush(ctx, n.gathered); err != nil {
			return n.wrap("flush", err)
		}
	}
	if n.task.After != nil {
		return n.wrap("after", n.task.After(ctx))
	}
	return nil
}

// finish acknowledges, and rewinds what the cut left over.
func (e *Engine) finish(ctx context.Context) (int, error) {
	fail.Here("committed")
	err, polled := e.stop, 0
	for _, in := range e.inputs {
		polled += in.polled
		if in.asked && !e.idle() {
			err = join(err, in.wrap("ack", in.source.Ack(ctx, in.done)))
		}
		if in.done < in.polled {
			in.rewind()
		}
	}
	if err == nil && polled == 0 && e.ended() {
		err = io.EOF
	}
	fail.Here("acked")
	return e.done(), err
}

// join keeps a single error as it is.
func join(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}

// ended says that no source will give anything more.
func (e *Engine) ended() bool {
	for _, in := range e.inputs {
		if !in.ended && !in.loop {
			return false
		}
	}
	return true
}
