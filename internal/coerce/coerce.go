// Package coerce makes a Go value of a command's JSON: it coerces (the text "33" into an int, "2015-02-09" into a time.Time),
// refuses what is unknown, validates, and reports all the faults of a command in one error, each with its path.
//
// A Plan is compiled once for each Go type. What a field takes:
//
//	string           a JSON string, nothing else
//	ints, uints      a JSON integer, or a string with a whole number: "33", "-7", "031" (thirty-one), "33.0", "1e3"
//	floats           a JSON number, or a string with a decimal number; never NaN nor an infinity
//	bool             true, false, "true", "false", in any case
//	big.Int          as the ints, with up to 4096 digits
//	uuid.UUID        a string in the form of 36 characters
//	time.Time        RFC 3339 (and offsets such as +0200 and +02), yyyy-MM-dd, yyyy/MM/dd, yyyy-MM-dd HH:mm:ss with or without a
//	                 fraction, and whole numbers: seconds since 1970 when nearer to 0 than 100000000000, else milliseconds.
//	                 The result is in UTC, in the years 1 to 9999
//	time.Duration    a string such as "1h30m", or whole nanoseconds
//	[]byte           a string in base64
//	json.Number      a JSON number, or a string with a decimal number
//	slice, array     a JSON array; an array's length must be met
//	map, struct      a JSON object. A map's keys are coerced as its key type; map entries, like elements, follow these rules
//	pointer          null (nil), or what its element takes
//	any              whatever encoding/json makes of it
//
// A type with UnmarshalJSON reads itself; one with UnmarshalText reads itself from strings. Null is nil for a pointer, a slice, a map
// and any, and a fault elsewhere. A field's key is its json name, in exactly this spelling. A field that is absent keeps its zero
// value, and the tag validate:"required" makes that a fault (and the zero value too, unless the field is a pointer).
//
// A struct takes the keys that it has no field for when one of its fields is tagged `json:"-" cqrs:"rest"` and is a
// map[string]any or a map[string]json.RawMessage. Note that encoding/json does not write that field back.
package coerce

import (
	"reflect"
	"sync"
)

// Plan makes values of one type. It may be used by many goroutines.
type Plan struct {
	typ     reflect.Type // the struct
	pointer bool         // New gives a pointer to it
	custom  bool         // code of the type's own sees the value's address while it is made
	decode  decoder
	back    readBack // of data as json.Marshal writes it: it makes the same value as decode; may be nil
	rules   *rules   // nil: the type has no validate tags
	checks  checks
	walkers sync.Pool
}

// Compile makes the plan of a struct type, or of a pointer to one. Its error names every field that can't be coerced.
func Compile(t reflect.Type) (*Plan, error) {
	p := &Plan{typ: t}
	if t != nil && t.Kind() == reflect.Pointer {
		p.typ, p.pointer = t.Elem(), true
	}
	if p.typ == nil || p.typ.Kind() != reflect.Struct {
		return nil, &TypeError{Type: t, Problems: []string{"is neither a struct nor a pointer to one"}}
	}
	if special(p.typ) != nil || readsText(p.typ) {
		return nil, &TypeError{Type: t, Problems: []string{
			"is read from a text, and not from a JSON object: an UnmarshalText, perhaps of an embedded field, makes it so"}}
	}
	c := compiler{nodes: map[reflect.Type]*node{}}
	if field := Unseen(p.typ); field != "" {
		c.problem(field, "is not exported, nor is any other: JSON sees nothing of the type")
	}
	p.decode = c.compile(p.typ, "").decode
	p.custom = c.custom
	if RoundTrips(p.typ) {
		p.back = readBackOf(p.typ)
	}
	p.checks = checksOf(p.typ)
	p.rules = newRules(p.typ, &c.problems)
	p.walkers.New = func() any { return new(walker) }
	if len(c.problems) > 0 {
		return nil, &TypeError{Type: t, Problems: c.problems}
	}
	return p, nil
}

// New makes a value of a JSON object: a T where the plan is of T, a *T where it is of *T. The error is an *Error with all the faults of
// the data, or a *PanicError. The value keeps no reference to data.
func (p *Plan) New(data []byte) (made any, err error) {
	w := p.walkers.Get().(*walker)
	defer func() {
		if r := recover(); r != nil {
			made, err = nil, newPanicError(p.typ, r)
		}
	}()
	v := p.blank(w)
	if p.read(w, v, data) {
		p.validate(w, v)
	}
	made, faults := p.finish(w, v)
	p.walkers.Put(w)
	if faults != nil {
		return nil, &Error{Faults: faults}
	}
	return made, nil
}

// read fills v. It is false, with the fault noted, when the data is no JSON.
func (p *Plan) read(w *walker, v reflect.Value, data []byte) bool {
	if p.back != nil {
		w.back = backScan{text: string(data)}
		if p.back(&w.back, v) && w.back.pos == len(data) {
			return true
		}
		v.SetZero()
	}
	copied := w.back.text
	if !w.begin(data) {
		return false
	}
	w.shared = copied
	p.decode(w, v)
	return true
}

// blank gives a zero value to fill. A struct that is handed out as a copy is filled in the walker's own room, again and again, unless
// code of the type's own could have kept its address.
func (p *Plan) blank(w *walker) reflect.Value {
	if p.pointer || p.custom || p.checks == checksPointer {
		return reflect.New(p.typ).Elem()
	}
	if !w.room.IsValid() {
		w.room = reflect.New(p.typ).Elem()
	}
	return w.room
}

// finish hands out the value, and leaves the walker clean for its next use.
func (p *Plan) finish(w *walker, v reflect.Value) (made any, faults []Fault) {
	if w.failed() {
		faults = w.all()
	} else if p.pointer {
		made = v.Addr().Interface()
	} else {
		made = v.Interface()
	}
	if w.room.IsValid() {
		w.room.SetZero()
	}
	w.end()
	return made, faults
}

// validate applies the validate tags, and then the type's own Validate. Validate runs on whole values only: when every field could be
// read.
func (p *Plan) validate(w *walker, v reflect.Value) {
	if p.rules != nil {
		p.rules.apply(w, v)
	}
	if p.checks != checksNone && len(w.unread.kept) == 0 {
		w.checked(p.checks.run(v))
	}
}
