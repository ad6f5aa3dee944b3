package coerce

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"
)

// member is a field of a struct that JSON may set, promoted ones included.
type member struct {
	name  string
	index []int
	typ   reflect.Type
	rest  bool
}

// members lists the fields of a struct, and notes what is wrong with them. As in encoding/json a field hides those of the same name that
// are embedded deeper; two of one name at one depth, which encoding/json passes over in silence, are a problem.
func (c *compiler) members(t reflect.Type, path string) []member {
	m := gatherer{c: c, path: path, names: map[string]bool{}, visited: map[reflect.Type]bool{}}
	level := []member{{typ: t}}
	for len(level) > 0 {
		level = m.level(level)
	}
	return m.found
}

type gatherer struct {
	c       *compiler
	path    string
	found   []member
	names   map[string]bool
	visited map[reflect.Type]bool
	rest    bool
}

// level takes the fields of the structs of one depth, and gives the structs embedded in them.
func (g *gatherer) level(structs []member) (deeper []member) {
	var here []member
	for _, s := range structs {
		if g.visited[s.typ] {
			g.c.problem(join(g.path, s.typ.Name()), "is embedded in two ways: give it a json name")
			continue
		}
		g.visited[s.typ] = true
		for i := range s.typ.NumField() {
			f := s.typ.Field(i)
			index := append(s.index[:len(s.index):len(s.index)], i)
			if promoted(f) {
				deeper = append(deeper, g.embedded(f, index)...)
			} else if m, ok := g.member(f, index); ok {
				here = append(here, m)
			}
		}
	}
	g.take(here)
	return deeper
}

// promoted says whether the fields of an embedded struct count as those of the struct around it.
func promoted(f reflect.StructField) bool {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tag := parseTag(f)
	return f.Anonymous && t.Kind() == reflect.Struct && tag.name == "" && !tag.skip
}

func (g *gatherer) embedded(f reflect.StructField, index []int) []member {
	switch {
	case f.Type.Kind() == reflect.Pointer:
		g.c.problem(join(g.path, f.Name), "is an embedded pointer: embed the struct itself, or give it a json name")
	case special(f.Type) != nil || selfRead(f.Type) != nil:
		g.c.problem(join(g.path, f.Name), "is an embedded %v, which has no fields to promote: give it a json name", f.Type)
	default:
		return []member{{typ: f.Type, index: index}}
	}
	return nil
}

// member is the field as a member, unless JSON does not see it.
func (g *gatherer) member(f reflect.StructField, index []int) (member, bool) {
	tag := parseTag(f)
	m := member{name: tag.name, index: index, typ: f.Type}
	if m.name == "" {
		m.name = f.Name
	}
	switch {
	case f.Tag.Get("cqrs") == "rest":
		m.rest = g.takesRest(f, tag)
		return m, m.rest
	case !f.IsExported() || tag.skip:
		return m, false
	case tag.bad:
		g.c.problem(join(g.path, f.Name), "has a json name that encoding/json does not take: %q", f.Tag.Get("json"))
	case tag.quoted && base(f.Type).Kind() == reflect.String:
		g.c.problem(join(g.path, m.name), "is a string with the json option \"string\", which puts quotes within quotes: take it away")
	}
	return m, true
}

func base(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// takesRest checks a field tagged cqrs:"rest". It must be hidden from encoding/json, which would write it under its own name.
func (g *gatherer) takesRest(f reflect.StructField, tag tag) bool {
	switch {
	case !f.IsExported() || !tag.skip || !isRest(f.Type):
		g.c.problem(join(g.path, f.Name), "is tagged cqrs:\"rest\": it must be exported, a map[string]any or "+
			"map[string]json.RawMessage, and also tagged json:\"-\"")
	case g.rest:
		g.c.problem(join(g.path, f.Name), "is a second field tagged cqrs:\"rest\": keep one")
	default:
		g.rest = true
		return true
	}
	return false
}

// take adds the fields of one depth, but for those hidden by a field less deep.
func (g *gatherer) take(here []member) {
	count := map[string]int{}
	for _, m := range here {
		switch {
		case m.rest:
			g.found = append(g.found, m)
			continue
		case g.names[m.name]:
			continue
		}
		switch count[m.name]++; count[m.name] {
		case 1:
			g.found = append(g.found, m)
		case 2:
			g.c.problem(join(g.path, m.name), "stands for two fields: rename one")
		}
	}
	for name := range count {
		g.names[name] = true
	}
}

// Unseen gives a field of a struct that encoding/json passes over because it is not exported, when it sees no other field: whatever
// the struct holds would be lost, so it was hardly meant. It is empty for types that have code of their own for JSON.
func Unseen(t reflect.Type) (field string) {
	if p := reflect.PointerTo(t); p.Implements(unmarshalerType) || p.Implements(reflect.TypeFor[json.Marshaler]()) ||
		p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return ""
	}
	for _, f := range reflect.VisibleFields(t) {
		switch {
		case promoted(f) || f.Name == "_":
		case f.IsExported():
			return ""
		case field == "":
			field = f.Name
		}
	}
	return field
}

type tag struct {
	name      string // empty: the Go name holds
	skip      bool   // json:"-"
	bad       bool   // a name that encoding/json passes over
	quoted    bool   // the option "string"
	omitsZero bool
}

func parseTag(f reflect.StructField) tag {
	whole := f.Tag.Get("json")
	name, options, _ := strings.Cut(whole, ",")
	t := tag{name: name, skip: whole == "-"}
	if t.skip || !nameAllowed(name) {
		t.name, t.bad = "", !t.skip && name != ""
	}
	for option := range strings.SplitSeq(options, ",") {
		t.quoted = t.quoted || option == "string"
		t.omitsZero = t.omitsZero || option == "omitzero"
	}
	return t
}

// nameAllowed is the rule of encoding/json.
func nameAllowed(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}
