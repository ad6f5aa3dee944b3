package coerce

import (
	"reflect"
	"strings"
)

// maxDepth bounds the nesting of what a plan reads, and with it the recursion. (What goes into an any is bounded by encoding/json.)
const maxDepth = 1000

// shareBelow is the size of data up to which all its strings share one copy. Above it a short string must not hold a large copy.
const shareBelow = 1024

// walker goes through JSON that is known to be valid, so it checks no syntax.
type walker struct {
	data    []byte
	pos     int
	shared  string // a copy of data, made when the first string is wanted
	scratch []byte // where texts with escapes are unescaped
	path    []step
	unread  faultList // values that can't be read
	unknown faultList // fields that the type does not have
	invalid faultList // what validation finds
	room    reflect.Value
	back    backScan
}

// begin takes up new data. It is false, with the fault noted, when the data is no JSON.
func (w *walker) begin(data []byte) bool {
	w.data, w.pos = data, 0
	if valid(data) {
		w.space()
		return true
	}
	w.fault(syntaxProblem(data))
	return false
}

// end lets go of all that belongs to one value.
func (w *walker) end() {
	room, scratch, path := w.room, w.scratch[:0], w.path
	clear(path[:cap(path)])
	if cap(scratch) > 1<<16 {
		scratch = nil
	}
	*w = walker{room: room, scratch: scratch, path: path[:0]}
}

func (w *walker) failed() bool {
	return len(w.unread.kept)+len(w.unknown.kept)+len(w.invalid.kept) > 0
}

func (w *walker) all() []Fault {
	all := w.unread.appendTo(nil, "values can't be read")
	all = w.unknown.appendTo(all, "fields are unknown")
	return w.invalid.appendTo(all, "rules are broken")
}

// fault notes that the value at the present path can't be read.
func (w *walker) fault(problem string) {
	w.unread.at(w.path, problem, maxFaults)
}

// step is one step of a path: into a field by its name, into an element by its index, into an entry of a map by its key.
type step struct {
	name  string
	index int // or isField, or isKey
}

const (
	isField = -1
	isKey   = -2
)

// enter goes one level down, to be left with leave. It is false, with the fault noted and the value passed over, when that is too deep.
func (w *walker) enter() bool {
	if len(w.path) < maxDepth {
		w.path = append(w.path, step{})
		return true
	}
	w.fault("is nested too deep: the limit is 1000 levels")
	w.skip()
	return false
}

func (w *walker) at(s step) { w.path[len(w.path)-1] = s }

func (w *walker) leave() { w.path = w.path[:len(w.path)-1] }

// pathText writes a path as address.lines[2].zip. Of a very deep path the middle is left out.
func pathText(path []step) string {
	const ends = 16
	var b strings.Builder
	for i, s := range path {
		switch {
		case len(path) > 2*ends && i == ends:
			b.WriteString("...")
		case len(path) > 2*ends && i > ends && i < len(path)-ends:
		default:
			s.write(&b)
		}
	}
	return b.String()
}

func (s step) write(b *strings.Builder) {
	switch {
	case s.index >= 0:
		b.WriteString(indexText(s.index))
	case s.index == isKey:
		b.WriteString("[" + nameText(s.name) + "]")
	case b.Len() > 0:
		b.WriteString("." + nameText(s.name))
	default:
		b.WriteString(nameText(s.name))
	}
}
