package cqrs

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"

	"github.com/cqrs-server/cqrs/internal/coerce"
)

// registry is what the program's types are, by their names on the wire.
type registry struct {
	commands map[string]*commandType
	events   map[string]*eventType
	names    *interner
}

type commandType struct {
	name        string
	typ         reflect.Type
	plan        *coerce.Plan
	consistency Consistency
}

func newRegistry(cfg Config) (*registry, error) {
	r := &registry{commands: map[string]*commandType{}, events: map[string]*eventType{}, names: newInterner()}
	r.names.add(cfg.Code, "")
	err := errors.Join(r.addCommand(-1, refold{}, Serializable), r.addEvent(-1, refolded{}))
	for i, c := range cfg.Commands {
		err = errors.Join(err, r.addCommand(i, c, cfg.Consistency))
	}
	for i, e := range cfg.Events {
		err = errors.Join(err, r.addEvent(i, e))
	}
	return r, err
}

func (r *registry) addCommand(i int, c Command, consistency Consistency) (err error) {
	defer caught("Commands", i, &err)
	if c == nil {
		return fmt.Errorf("Commands[%d] is nil", i)
	}
	name, typ := c.CommandType(), reflect.TypeOf(c)
	if other := r.commands[name]; other != nil {
		return fmt.Errorf("command type %q is registered twice, as %s and as %s", name, other.typ, typ)
	}
	if err := checkOwnName(name, i); err != nil {
		return fmt.Errorf("command type %s: %w", typ, err)
	}
	plan, err := coerce.Compile(typ)
	if err != nil {
		return fmt.Errorf("command type %s: %w", typ, err)
	}
	if own, ok := c.(interface{ Consistency() Consistency }); ok {
		consistency = own.Consistency()
	}
	if consistency > Unchanged {
		return fmt.Errorf("command type %s: there is no Consistency %d", typ, consistency)
	}
	r.commands[name] = &commandType{name: name, typ: typ, plan: plan, consistency: consistency}
	r.names.add(name)
	return nil
}

// spelled names the command type that differs from the name in case only.
func (r *registry) spelled(name string) string {
	for known := range r.commands {
		if strings.EqualFold(known, name) {
			return fmt.Sprintf("; it is spelled %q", known)
		}
	}
	return ""
}

func (r *registry) addEvent(i int, e Event) (err error) {
	defer caught("Events", i, &err)
	if e == nil {
		return fmt.Errorf("Events[%d] is nil", i)
	}
	t, err := newEventType(e)
	if err == nil {
		err = checkOwnName(t.name, i)
	}
	if err != nil {
		return err
	}
	if other := r.events[t.name]; other != nil {
		return fmt.Errorf("event type %q is registered twice, as %s and as %s", t.name, other.typ, t.typ)
	}
	r.events[t.name] = t
	r.names.add(t.name)
	return nil
}

// caught makes an error of the panic of a type's own method: that of a value, say, called on a nil pointer.
func caught(field string, i int, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s[%d]: a method of its type panicked: %v", field, i, p)
	}
}

// checkOwnName refuses a name that is the library's own; the library registers under -1.
func checkOwnName(name string, i int) error {
	if i >= 0 && strings.HasPrefix(name, reserved) {
		return fmt.Errorf("the name %q begins with %q, which is for the library's own types", name, reserved)
	}
	return checkTypeName(name)
}

// eventOf finds what an event was registered as, by its Go type.
func (r *registry) eventOf(e Event) (*eventType, error) {
	if e == nil {
		return nil, errors.New("ProcessCommand returned a nil event")
	}
	if v := reflect.ValueOf(e); v.Kind() == reflect.Pointer && v.IsNil() { // it would be null in the log, and a trap for each fold
		return nil, fmt.Errorf("ProcessCommand returned a nil %T", e)
	}
	name := e.EventType()
	t := r.events[name]
	if t == nil {
		return nil, fmt.Errorf("event type %q (%T) is not named in Config.Events", name, e)
	}
	if t.typ != reflect.TypeOf(e) {
		return nil, fmt.Errorf("event %q is registered as %s, and ProcessCommand returned a %T", name, t.typ, e)
	}
	return t, nil
}

// decodeEvents makes the values what every other replica sees: what the bytes say.
func (r *registry) decodeEvents(c *Commit) error {
	c.Values = make([]Event, len(c.Events))
	for i := range c.Events {
		t := r.events[c.Events[i].Type]
		if t == nil {
			continue
		}
		value, err := t.decode(c.Events[i].Data)
		if err != nil {
			return devError(tagProcess, err)
		}
		c.Values[i] = value
	}
	return nil
}

// unreadable stands for an event whose bytes do not fit its type: its fold fails.
type unreadable struct {
	error
	name string
}

func (u unreadable) EventType() string { return u.name }

// decodeStored is decodeEvents for what was accepted: what can't be decoded holds up nothing.
func (r *registry) decodeStored(c *Commit) { r.decodeInto(c, nil) }

// decodeInto is decodeStored with room for the values. It gives the room that is left.
func (r *registry) decodeInto(c *Commit, room []Event) (left []Event) {
	n := len(c.Events)
	if len(room) < n {
		room = make([]Event, max(n, cap(room)))
	}
	c.Values, left = room[:n:n], room[n:]
	for i := range c.Events {
		t := r.events[c.Events[i].Type]
		if t == nil {
			continue
		}
		value, err := t.decode(c.Events[i].Data)
		if err != nil {
			value = unreadable{err, t.name}
		}
		c.Values[i] = value
	}
	return left
}

// buildRevision is the revision of the program's source, if the Go tool recorded it.
func buildRevision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "NA"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && s.Value != "" {
			return s.Value
		}
	}
	return "NA"
}
