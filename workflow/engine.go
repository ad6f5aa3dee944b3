package workflow

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// defaultBatch is the most that one batch takes from an input that does not say.
const defaultBatch = 1000

// Engine runs a plan. It belongs to one goroutine: either Run does it all, or the program calls Open, Step in a
// loop, and Close.
//
// What sources, sinks and hooks panic with is not recovered; what functions and conditions panic with is.
type Engine struct {
	// OnError is told what Run is going to try again. Set it before Run. Defaults to nothing.
	OnError func(error)

	hooks   Hooks
	order   []*node // the workflow's order
	outputs []*node // in that order
	inputs  []*input
	wake    chan struct{} // holds one signal of the sources that are Wakers

	state  state
	opened []*node
	stop   error // why the walk of this batch was cut
}

type state uint8

const (
	isNew state = iota
	isOpen
	isClosed
)

// input is an input that is polled.
type input struct {
	*node
	source Source
	batch  int
	loop   bool // its queue is filled by an output of the same plan only
	ended  bool // it said io.EOF

	asked  bool // this batch polled it
	polled int  // what this batch polled
	done   int  // what of that has had its effect
}

// New compiles a plan, or says all that Validate finds wrong with it.
func New(p Plan, h Hooks) (*Engine, error) {
	g := compile(p)
	if err := p.validate(g); err != nil {
		return nil, fmt.Errorf("workflow: the plan cannot run: %w", err)
	}
	e := &Engine{hooks: h, order: g.order(), wake: make(chan struct{}, 1)}
	for _, n := range e.order {
		if n.task.Kind == Output {
			e.outputs = append(e.outputs, n)
		}
	}
	for _, n := range g.nodes {
		if n.task.Kind == Input && n.task.In != nil {
			e.inputs = append(e.inputs, e.newInput(n))
		}
	}
	return e, nil
}

func (e *Engine) newInput(n *node) *input {
	in := &input{node: n, source: n.task.In, batch: n.task.Batch}
	if in.batch == 0 {
		in.batch = defaultBatch
	}
	for _, out := range e.outputs {
		in.loop = in.loop || same(in.source, out.task.Out)
	}
	n.in = in
	return in
}

// same says whether a source and a sink are one queue.
func same(in Source, out Sink) bool {
	return reflect.TypeOf(in).Kind() == reflect.Pointer && any(in) == any(out)
}

// Open opens the tasks in the workflow's order. When one fails, those before it are closed. An engine is opened once.
func (e *Engine) Open(ctx context.Context) error {
	if e.state != isNew {
		return errors.New("workflow: the engine was opened before: make another one with New")
	}
	e.state = isOpen
	for _, n := range e.order {
		if n.task.Open != nil {
			if err := n.task.Open(ctx); err != nil {
				return errors.Join(n.wrap("open", err), e.Close())
			}
		}
		e.opened = append(e.opened, n)
	}
	for _, in := range e.inputs {
		if w, ok := in.source.(Waker); ok {
			w.Wake(e.signal)
		}
	}
	return nil
}

// Close closes the tasks that were opened, the last one first, all of them whatever they return. Closing again does nothing.
func (e *Engine) Close() error {
	e.state = isClosed
	var errs []error
	for len(e.opened) > 0 {
		last := len(e.opened) - 1
		n := e.opened[last]
		e.opened = e.opened[:last]
		if n.task.Close != nil {
			errs = append(errs, n.wrap("close", n.task.Close()))
		}
	}
	return errors.Join(errs...)
}

// signal never waits: one signal stands for many.
func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// wrap says at which task an operation failed. It keeps nil.
func (n *node) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("workflow: task %q: %s: %w", n.name, op, err)
}
