package coerce

import (
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
)

// How many faults of each sort one error lists; a last one says how many more there are.
const (
	maxFaults  = 100
	maxUnknown = 20
)

// Fault is one thing that is wrong with a command's data.
type Fault struct {
	Path    string `json:"path"`    // the field, such as address.lines[2].zip; empty for the command as a whole
	Problem string `json:"problem"` // goes on where the path ends: `is "x", which is no whole number`
}

func (f Fault) String() string {
	if f.Path == "" {
		return f.Problem
	}
	return f.Path + " " + f.Problem
}

// Error is all that is wrong with a command's data: what can't be read, in the order of the data, then the unknown fields, then what
// validation finds.
type Error struct {
	Faults []Fault
}

func (e *Error) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return strings.Join(texts, "; ")
}

// TypeError says why a type can't be coerced into.
type TypeError struct {
	Type     reflect.Type
	Problems []string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("type %v: %s", e.Type, strings.Join(e.Problems, "; "))
}

// PanicError says that code of the command's type (Validate, UnmarshalJSON, UnmarshalText, a validate tag) panicked. It is a defect of
// the program, and no fault of the data.
type PanicError struct {
	Type  reflect.Type
	Value any    // what was given to panic
	Stack []byte // where
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("reading a %v panicked: %v", e.Type, e.Value)
}

// Unwrap gives the error that was given to panic, if it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func newPanicError(t reflect.Type, value any) *PanicError {
	return &PanicError{Type: t, Value: value, Stack: debug.Stack()}
}

// faultList keeps the first faults up to a limit, and counts the others.
type faultList struct {
	kept []Fault
	more int
}

func (l *faultList) add(f Fault, limit int) {
	if len(l.kept) == limit {
		l.more++
		return
	}
	l.kept = append(l.kept, f)
}

// at adds a fault at a path, whose text is made only if the fault is kept.
func (l *faultList) at(path []step, problem string, limit int) {
	if len(l.kept) == limit {
		l.more++
		return
	}
	l.add(Fault{pathText(path), problem}, limit)
}

// appendTo appends the faults, and one that counts those left out as "3 more <what>".
func (l *faultList) appendTo(dst []Fault, what string) []Fault {
	dst = append(dst, l.kept...)
	if l.more > 0 {
		dst = append(dst, Fault{Problem: fmt.Sprintf("%d more %s", l.more, what)})
	}
	return dst
}
