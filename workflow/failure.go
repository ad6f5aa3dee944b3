package workflow

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrNotOpen is returned by Step before Open and after Close.
var ErrNotOpen = errors.New("workflow: the engine is not open: call Open first, and Step not after Close")

// errCut ends the walk of a batch; Engine.stop says why.
var errCut = errors.New("workflow: the batch is cut")

// Failure is the segment that takes the place of one that a task failed on. Step returns it when no condition
// has a way for it.
type Failure struct {
	Task    string
	Segment Segment // what the task was given
	Err     error
	Panic   bool   // the task panicked; Err says with what
	Stack   []byte // of a panic
}

// Error says which task failed, and why. It does not show the segment.
func (f *Failure) Error() string { return fmt.Sprintf("workflow: task %q: %v", f.Task, f.Err) }

// Unwrap gives the error of the task.
func (f *Failure) Unwrap() error { return f.Err }

// RetryError is returned by Step when a segment is to be tried again. What came before it has had its effect; it and
// what came behind it will be polled again.
type RetryError struct {
	Task    string
	Segment Segment // what the task was given, which need not be what was polled
	Err     error
}

// Error says which task asks for another try, and why.
func (e *RetryError) Error() string {
	return fmt.Sprintf("workflow: task %q is to be tried again: %v", e.Task, e.Err)
}

// Unwrap gives the error of the task.
func (e *RetryError) Unwrap() error { return e.Err }

// panicked makes a failure of what recover gave. It is called while the panic's stack still stands.
func panicked(task string, s Segment, r any) *Failure {
	err, ok := r.(error)
	if ok {
		err = fmt.Errorf("panic: %w", err)
	} else {
		err = fmt.Errorf("panic: %v", r)
	}
	return &Failure{Task: task, Segment: s, Err: err, Panic: true, Stack: debug.Stack()}
}
