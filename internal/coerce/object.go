package coerce

import (
	"encoding/json"
	"reflect"
	"strings"
)

// shape is a struct as JSON sees it.
type shape struct {
	fields []field
	byName map[string]int
	rest   *field // takes the keys that have no field; nil: they are faults
}

// field is a field of a struct, or one promoted from an embedded struct.
type field struct {
	name  string
	index []int // the way to it, as for reflect.Value.FieldByIndex
	node  *node
}

func (f *field) of(v reflect.Value) reflect.Value {
	for _, i := range f.index {
		v = v.Field(i)
	}
	return v
}

func (c *compiler) object(t reflect.Type, path string) decoder {
	s := &shape{byName: map[string]int{}}
	for _, f := range c.members(t, path) {
		if f.rest {
			s.rest = &field{index: f.index, node: &node{decodeAny}}
			continue
		}
		s.byName[f.name] = len(s.fields)
		s.fields = append(s.fields, field{f.name, f.index, c.compile(f.typ, join(path, f.name))})
	}
	return s.decode
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (s *shape) decode(w *walker, v reflect.Value) {
	if w.kind() != object {
		w.wrong(w.token(), "object")
		return
	}
	if !w.enter() {
		return
	}
	w.pos++
	var few [32]bool
	seen := few[:]
	if len(s.fields) > len(few) {
		seen = make([]bool, len(s.fields))
	}
	for guess := 0; w.next(); {
		guess = s.member(w, v, seen, guess) + 1
	}
	w.leave()
}

// member reads a key and its value, and gives the number of the field. The guess is the field that is probably next.
func (s *shape) member(w *walker, v reflect.Value, seen []bool, guess int) int {
	i := guess
	if i >= len(s.fields) || !w.passKey(s.fields[i].name) {
		key := w.key()
		known := false
		if i, known = s.byName[string(key.text)]; !known {
			s.other(w, v, key)
			return guess - 1
		}
	}
	f := &s.fields[i]
	w.at(step{f.name, isField})
	if seen[i] {
		w.fault("stands twice in the data")
		w.skip()
		return i
	}
	seen[i] = true
	f.node.decode(w, f.of(v))
	return i
}

// other takes a member that the struct has no field for.
func (s *shape) other(w *walker, v reflect.Value, key token) {
	name := string(key.text)
	w.at(step{name, isField})
	if s.rest != nil {
		s.keep(w, s.rest.of(v), name)
		return
	}
	w.unknown.at(w.path, "is unknown"+s.hint(name), maxUnknown)
	w.skip()
}

// hint names the field that differs from the name in case only.
func (s *shape) hint(name string) string {
	for i := range s.fields {
		if strings.EqualFold(s.fields[i].name, name) {
			return "; it is spelled " + nameText(s.fields[i].name)
		}
	}
	return ""
}

// keep puts a member into the map that takes the rest.
func (s *shape) keep(w *walker, rest reflect.Value, name string) {
	if rest.IsNil() {
		rest.Set(reflect.MakeMap(rest.Type()))
	}
	key := reflect.ValueOf(name).Convert(rest.Type().Key())
	if rest.MapIndex(key).IsValid() {
		w.fault("stands twice in the data")
		w.skip()
		return
	}
	value := reflect.New(rest.Type().Elem()).Elem()
	s.rest.node.decode(w, value)
	rest.SetMapIndex(key, value)
}

func isRest(t reflect.Type) bool {
	return t.Kind() == reflect.Map && t.Key().Kind() == reflect.String &&
		(t.Elem() == anyType || t.Elem() == reflect.TypeFor[json.RawMessage]())
}
