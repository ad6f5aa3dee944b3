package workflow

import (
	"context"
	"errors"

	"github.com/cqrs-server/cqrs/internal/fail"
)

// enter hands a segment to a task and walks on from there, depth-first.
func (e *Engine) enter(ctx context.Context, n *node, s Segment) error {
	switch {
	case n.task.Kind == Output:
		return e.gather(ctx, n, s)
	case n.task.Fn == nil:
		return e.leave(ctx, n, s)
	}
	made, failure := n.call(ctx, s)
	if failure != nil {
		return e.fail(ctx, n, failure)
	}
	for _, m := range made {
		if err := e.leave(ctx, n, m); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) gather(ctx context.Context, n *node, s Segment) error {
	n.gathered = append(n.gathered, s)
	if n.emits {
		if err := e.leave(ctx, n, s); err != nil {
			return err
		}
	}
	if n.link != nil {
		return e.enter(ctx, n.link, s)
	}
	return nil
}

func (e *Engine) leave(ctx context.Context, n *node, s Segment) error {
	s, _, failure := n.route(s, false)
	if failure != nil {
		return e.fail(ctx, n, failure)
	}
	return e.deliver(ctx, n, s)
}

func (e *Engine) deliver(ctx context.Context, n *node, s Segment) error {
	for _, to := range n.taken {
		if err := e.enter(ctx, to, s); err != nil {
			return err
		}
	}
	return nil
}

// fail cuts the batch when trying again may help. Else the failure goes where a condition sends it, or it is the
// error of the batch.
func (e *Engine) fail(ctx context.Context, n *node, f *Failure) error {
	if e.stop = e.again(ctx, f); e.stop != nil {
		return errCut
	}
	s, ok, second := n.route(f, true)
	if second != nil {
		f.Err = errors.Join(f.Err, second.Err)
		return f
	}
	if !ok {
		return f
	}
	return e.deliver(ctx, n, s)
}

// again gives the reason to try a failed segment again later, or nil.
func (e *Engine) again(ctx context.Context, f *Failure) error {
	if f.Panic {
		return nil
	}
	// What fails because the program stops is not the segment's fault.
	if err := ctx.Err(); err != nil && errors.Is(f.Err, err) {
		return err
	}
	if e.hooks.Retry != nil && e.hooks.Retry(f.Err) {
		return &RetryError{Task: f.Task, Segment: f.Segment, Err: f.Err}
	}
	return nil
}

func (n *node) call(ctx context.Context, s Segment) (made []Segment, f *Failure) {
	defer func() {
		if r := recover(); r != nil {
			made, f = nil, panicked(n.name, s, r)
		}
	}()
	fail.At("call", n.name)
	made, err := n.task.Fn(ctx, n.task.Params, s)
	fail.At("called", n.name)
	if err != nil {
		return nil, &Failure{Task: n.name, Segment: s, Err: err}
	}
	return made, nil
}

// route asks the conditions and leaves in n.taken where the segment goes. It says whether there is a way at all; to be
// sent nowhere by a condition is one. A strict route has no edges but those that a condition names.
func (n *node) route(s Segment, strict bool) (to Segment, ok bool, f *Failure) {
	defer func() {
		if r := recover(); r != nil {
			to, ok, f = nil, false, panicked(n.name, s, r)
		}
	}()
	n.taken = n.taken[:0]
	for i := range n.shorts {
		if c := &n.shorts[i]; c.when(s) {
			n.taken = append(n.taken, c.to...)
			return c.apply(s), true, nil
		}
	}
	for i := range n.edges {
		if e := &n.edges[i]; e.open(s, strict) {
			n.taken = append(n.taken, e.to)
		}
	}
	return s, len(n.taken) > 0, nil
}

func (c *short) apply(s Segment) Segment {
	if c.transform == nil {
		return s
	}
	return c.transform(s)
}

func (e *edge) open(s Segment, strict bool) bool {
	for _, when := range e.when {
		if !when(s) {
			return false
		}
	}
	return !strict || len(e.when) > 0
}
