package cqrs

import (
	"bytes"
	"encoding"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cqrs-server/cqrs/internal/coerce"
	"github.com/fxamacker/cbor/v2"
)

// rowPlan reads rows of a plain struct as rowMode writes them, several times faster than rowDecoder. It gives up on whatever is written in
// another way, such as rows of an earlier shape, and then rowDecoder reads all of it.
type rowPlan struct{ fields []rowField }

// rowField is a field, in the order in which rowMode writes them.
type rowField struct {
	key   []byte // encoded
	index int
	kind  reflect.Kind
	inner *rowPlan // of a struct
}

// newRowPlan is nil when rows of the type can't be read so.
func newRowPlan(t reflect.Type) *rowPlan {
	if t.Kind() != reflect.Struct || !coerce.RoundTrips(t) || readsCBOR(t) {
		return nil
	}
	p := &rowPlan{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		key, err := rowKeyOf(name)
		field := rowField{key: key, index: i}
		if err != nil || option != "" || f.Tag.Get("cbor") != "" || !field.readable(f.Type) {
			return nil
		}
		p.fields = append(p.fields, field)
	}
	slices.SortFunc(p.fields, func(a, b rowField) int { return bytes.Compare(a.key, b.key) })
	return p
}

func readsCBOR(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[cbor.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()) ||
		p.Implements(reflect.TypeFor[cbor.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]())
}

func rowKeyOf(name string) ([]byte, error) {
	var buf bytes.Buffer
	err := rowMode.MarshalToBuffer(name, &buf)
	return buf.Bytes(), err
}

// readable tells whether a field's value can be read; what a struct holds is read by a plan of its own.
func (f *rowField) readable(t reflect.Type) bool {
	switch f.kind = t.Kind(); {
	case readsCBOR(t):
		return false
	case f.kind == reflect.Struct:
		f.inner = newRowPlan(t)
		return f.inner != nil
	}
	return f.kind == reflect.String || f.kind == reflect.Bool || reflect.Int <= f.kind && f.kind <= reflect.Uint64
}

func (f *rowField) read(s *rowScan, v reflect.Value) bool {
	switch {
	case f.kind == reflect.String:
		return s.text(v)
	case f.kind == reflect.Bool:
		return s.boolean(v)
	case f.kind == reflect.Struct:
		return f.inner.fill(s, v)
	case f.kind <= reflect.Int64:
		return s.signed(v)
	}
	return s.unsigned(v)
}

// decode is false when the row must be read in another way. Then fields may have been set that are in it.
func (p *rowPlan) decode(raw []byte, row any) bool {
	s := rowScan{rest: raw}
	return p.fill(&s, reflect.ValueOf(row).Elem()) && len(s.rest) == 0
}

func (p *rowPlan) fill(s *rowScan, v reflect.Value) bool {
	if n, ok := s.head(cborMap); !ok || n != uint64(len(p.fields)) {
		return false
	}
	for i := range p.fields {
		f := &p.fields[i]
		if !bytes.HasPrefix(s.rest, f.key) {
			return false
		}
		s.rest = s.rest[len(f.key):]
		if !f.read(s, v.Field(f.index)) {
			return false
		}
	}
	return true
}

// The kinds of CBOR's values, and two of its simple ones.
const (
	cborUint = 0
	cborInt  = 1 // below 0: -1 - n
	cborText = 3
	cborMap  = 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
)

// rowScan is what is left of a row.
type rowScan struct{ rest []byte }

// head reads a value's first bytes, which hold a number, and are of that kind.
func (s *rowScan) head(kind byte) (n uint64, ok bool) {
	if len(s.rest) == 0 || s.rest[0]>>5 != kind {
		return 0, false
	}
	low := s.rest[0] & 31
	s.rest = s.rest[1:]
	if low < 24 {
		return uint64(low), true
	}
	size := 1 << (low - 24)
	if low > 27 || len(s.rest) < size {
		return 0, false
	}
	for _, b := range s.rest[:size] {
		n = n<<8 | uint64(b)
	}
	s.rest = s.rest[size:]
	return n, true
}

func (s *rowScan) text(v reflect.Value) bool {
	n, ok := s.head(cborText)
	if !ok || n > uint64(len(s.rest)) || !utf8.Valid(s.rest[:n]) {
		return false
	}
	v.SetString(string(s.rest[:n]))
	s.rest = s.rest[n:]
	return true
}

func (s *rowScan) boolean(v reflect.Value) bool {
	if len(s.rest) == 0 || s.rest[0] != cborTrue && s.rest[0] != cborFalse {
		return false
	}
	v.SetBool(s.rest[0] == cborTrue)
	s.rest = s.rest[1:]
	return true
}

func (s *rowScan) signed(v reflect.Value) bool {
	kind := byte(cborUint)
	if len(s.rest) > 0 && s.rest[0]>>5 == cborInt {
		kind = cborInt
	}
	n, ok := s.head(kind)
	value := int64(n)
	if kind == cborInt {
		value = -1 - value
	}
	if !ok || n > 1<<63-1 || v.OverflowInt(value) {
		return false
	}
	v.SetInt(value)
	return true
}

func (s *rowScan) unsigned(v reflect.Value) bool {
	n, ok := s.head(cborUint)
	if !ok || v.OverflowUint(n) {
		return false
	}
	v.SetUint(n)
	return true
}
