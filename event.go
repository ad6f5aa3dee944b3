package cqrs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/cqrs-server/cqrs/internal/coerce"
	"github.com/cqrs-server/cqrs/store"
)

// Event is a past-tense fact. Its exported fields are the payload, as JSON.
type Event interface {
	// EventType is the name on the wire, such as "user/registered". It must not depend on the fields.
	EventType() string
}

// Recorded is an event together with its envelope: its id, its command, its t and its place there.
type Recorded struct {
	store.Entry
	Value Event // nil when the event's type is not registered in this program
}

// Commit is all events of one command, as it flows through a workflow from command/process on. Behind event/in-queue
// it is accepted: it has its T. A task must not change it, nor keep its Record's bytes beyond the batch.
type Commit struct {
	store.Record
	Values []Event // the events, decoded, in the Record's order
	Repeat bool    // the command had been accepted before: its effects are there

	bytes   []byte   // the Record, encoded
	remarks []*Error // what the sender is told beside the events
	command *command // what it was decided for; nil when it was read from the log
	knows   int64    // the offset from which on whoever decided it knows the log
}

// recorded gives the event at index with its envelope.
func (c *Commit) recorded(index int) Recorded {
	r := Recorded{Entry: store.Entry{Envelope: c.Envelope, Event: c.Events[index]}}
	if index < len(c.Values) {
		r.Value = c.Values[index]
	}
	return r
}

// eventType is what the program registered for an event's name.
type eventType struct {
	name  string
	typ   reflect.Type     // as registered: a struct, or a pointer to one
	plain bool             // a value equals what its bytes decode to
	back  *coerce.ReadBack // reads what encode wrote; nil: json.Unmarshal must
}

func newEventType(e Event) (*eventType, error) {
	typ := reflect.TypeOf(e)
	base := typ
	if base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	if base.Kind() != reflect.Struct {
		return nil, fmt.Errorf("event type %s is no struct", typ)
	}
	if field := coerce.Unseen(base); field != "" {
		return nil, fmt.Errorf("event type %s: field %s is not exported, nor is any other: JSON sees nothing of the type", typ, field)
	}
	name := e.EventType()
	if err := checkTypeName(name); err != nil {
		return nil, fmt.Errorf("event type %s: %w", typ, err)
	}
	t := &eventType{name: name, typ: typ}
	if typ.Kind() == reflect.Struct {
		t.plain, t.back = coerce.RoundTrips(typ), coerce.NewReadBack(typ)
	}
	return t, nil
}

// encode gives the payload. exact tells that decoding it is certain to give the same value.
func (t *eventType) encode(e Event) (data []byte, exact bool, err error) {
	data, err = json.Marshal(e)
	if err != nil {
		return nil, false, fmt.Errorf("event %s can't be encoded: %w", t.name, err)
	}
	// The encoder writes text that is no UTF-8 as this escape, and decodes it to another text.
	return data, t.plain && !bytes.Contains(data, []byte(`\ufffd`)), nil
}

// decode reads a payload. Fields that the type does not have are passed over, so that events outlive them.
func (t *eventType) decode(data []byte) (Event, error) {
	if t.back != nil {
		if value, ok := t.back.Read(data); ok {
			return value.(Event), nil
		}
	}
	v := reflect.New(t.typ)
	if err := unmarshal(data, v.Interface()); err != nil {
		return nil, fmt.Errorf("event %s can't be decoded: %w", t.name, err)
	}
	return v.Elem().Interface().(Event), nil
}

// unmarshal makes an error of the panic of a type's own UnmarshalJSON: stored events are read where a panic would end the process.
func unmarshal(data []byte, v any) (err error) {
	defer func() {
		p := recover()
		if _, fault := p.(interface{ Addr() uintptr }); fault { // of the file: see boltfile.Guard
			panic(p)
		}
		if p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Unmarshal(data, v)
}
