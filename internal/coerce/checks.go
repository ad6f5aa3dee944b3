package coerce

import (
	"reflect"
	"strings"
)

// checker is a type that validates itself.
type checker interface {
	Validate() error
}

// checks says how a type validates itself.
type checks uint8

const (
	checksNone    checks = iota
	checksValue          // by a method of the struct, which gets a copy
	checksPointer        // by a method of the pointer, which gets the value that New returns
)

func checksOf(t reflect.Type) checks {
	want := reflect.TypeFor[checker]()
	switch {
	case t.Implements(want):
		return checksValue
	case reflect.PointerTo(t).Implements(want):
		return checksPointer
	}
	return checksNone
}

func (c checks) run(v reflect.Value) error {
	if c == checksPointer {
		return v.Addr().Interface().(checker).Validate()
	}
	return v.Interface().(checker).Validate()
}

// checked notes what a Validate method returned.
func (w *walker) checked(err error) {
	if err == nil {
		return
	}
	for _, one := range split(err) {
		w.invalid.add(Fault{Problem: one.Error()}, maxFaults)
	}
}

// split takes apart what errors.Join made. An error that says more than its parts stays whole.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var parts []error
	var texts []string
	for _, part := range joined.Unwrap() {
		texts = append(texts, part.Error())
		parts = append(parts, split(part)...)
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err}
	}
	return parts
}
