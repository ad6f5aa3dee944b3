package workflow

import (
	"context"
	"fmt"
	"io"

	"github.com/cqrs-server/cqrs/internal/fail"
)

// Step runs one batch, in this goroutine. It returns how many polled segments have had their effect.
//
// After a *RetryError, or the error of a context that ended during the walk, what came before has had its effect and the rest will
// be polled again. After an error of a source, a sink or a hook, or a *Failure that no condition
// has a way for, the whole batch is undone and will be polled again; but when only an Ack failed the batch stands.
// io.EOF says that every source is at its end and this batch found nothing.
//
// An input whose source is also the sink of an output of the plan (the same pointer) is at its end when
// all others are and it is empty.
func (e *Engine) Step(ctx context.Context) (int, error) {
	if e.state != isOpen {
		return 0, ErrNotOpen
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	defer e.forget()
	err := e.walk(ctx)
	if err == nil {
		err = e.flush(settled(ctx))
	}
	if err != nil {
		e.rollback()
		return 0, err
	}
	return e.finish(settled(ctx))
}

// settled keeps the end of a context from undoing what has been walked or committed.
func settled(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// forget makes ready for the next batch.
func (e *Engine) forget() {
	e.stop = nil
	for _, in := range e.inputs {
		in.asked, in.polled, in.done = false, 0, 0
	}
	for _, n := range e.outputs {
		n.truncate(0)
	}
}

func (e *Engine) walk(ctx context.Context) error {
	fail.Here("begin")
	if e.hooks.Begin != nil {
		if err := e.hooks.Begin(ctx); err != nil {
			return fmt.Errorf("workflow: begin: %w", err)
		}
	}
	for _, in := range e.inputs {
		if e.stop != nil {
			return nil
		}
		if err := e.walkInput(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) walkInput(ctx context.Context, in *input) error {
	segments, err := in.poll(ctx)
	if err != nil {
		return err
	}
	for _, s := range segments {
		if e.stop = ctx.Err(); e.stop != nil {
			return nil
		}
		err := e.walkSegment(ctx, in.node, s)
		if err == errCut {
			e.undo()
			return nil
		}
		if err != nil {
			return err
		}
		in.done++
	}
	return nil
}

// poll asks a source that has not ended. Only io.EOF itself is the end: a broken connection often wraps it.
func (in *input) poll(ctx context.Context) ([]Segment, error) {
	if in.ended {
		return nil, nil
	}
	fail.At("poll", in.name)
	segments, err := in.source.Poll(ctx, in.batch)
	fail.At("polled", in.name)
	if err != nil && err != io.EOF {
		return nil, in.wrap("poll", err)
	}
	in.asked, in.polled, in.ended = true, len(segments), err == io.EOF
	return segments, nil
}

// walkSegment walks one polled segment to the end of all its ways.
func (e *Engine) walkSegment(ctx context.Context, n *node, s Segment) error {
	if e.hooks.Mark != nil {
		e.hooks.Mark()
	}
	for _, out := range e.outputs {
		out.mark = len(out.gathered)
	}
	return e.enter(ctx, n, s)
}

// undo takes back what the segment being walked has done so far.
func (e *Engine) undo() {
	if e.hooks.Undo != nil {
		e.hooks.Undo()
	}
	for _, out := range e.outputs {
		out.truncate(out.mark)
	}
}

func (n *node) truncate(size int) {
	clear(n.gathered[size:])
	n.gathered = n.gathered[:size]
}

// rollback has everything polled again.
func (e *Engine) rollback() {
	if e.hooks.Rollback != nil {
		e.hooks.Rollback()
	}
	for _, in := range e.inputs {
		in.rewind()
	}
}

func (in *input) rewind() {
	in.ended = false
	in.source.Rewind()
}
