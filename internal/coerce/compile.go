package coerce

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"time"

	"github.com/google/uuid"
)

// decoder reads the value at the walker's position into v, which can be set and holds its zero value. The walker passes the value in any
// case; what is wrong is noted in the walker.
type decoder func(w *walker, v reflect.Value)

// node holds a type's decoder. A type that holds itself meets its node before the decoder is there.
type node struct {
	decode decoder
}

var (
	bigIntType      = reflect.TypeFor[big.Int]()
	durationType    = reflect.TypeFor[time.Duration]()
	numberType      = reflect.TypeFor[json.Number]()
	rawType         = reflect.TypeFor[json.RawMessage]()
	timeType        = reflect.TypeFor[time.Time]()
	uuidType        = reflect.TypeFor[uuid.UUID]()
	anyType         = reflect.TypeFor[any]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	fromTextType    = reflect.TypeFor[encoding.TextUnmarshaler]()
)

type compiler struct {
	nodes    map[reflect.Type]*node
	problems []string
	custom   bool
}

func (c *compiler) compile(t reflect.Type, path string) *node {
	if n := c.nodes[t]; n != nil {
		return n
	}
	n := new(node)
	c.nodes[t] = n
	if n.decode = c.decoder(t, path); n.decode == nil {
		delete(c.nodes, t) // so that its next use is a problem of its own
	}
	return n
}

func (c *compiler) decoder(t reflect.Type, path string) decoder {
	if d := special(t); d != nil {
		return d
	}
	if d := selfRead(t); d != nil {
		c.custom = true
		return d
	}
	switch t.Kind() {
	case reflect.Pointer:
		return c.pointer(t, path)
	case reflect.Struct:
		return c.object(t, path)
	case reflect.Slice:
		return c.slice(t, path)
	case reflect.Array:
		return c.array(t, path)
	case reflect.Map:
		return c.mapping(t, path)
	}
	return c.plain(t, path)
}

// plain is the decoder of the kinds that hold no other type.
func (c *compiler) plain(t reflect.Type, path string) decoder {
	switch {
	case t.Kind() == reflect.String:
		return decodeString
	case t.Kind() == reflect.Bool:
		return decodeBool
	case isInt(t):
		return intDecoder(t)
	case isUint(t):
		return uintDecoder(t)
	case isFloat(t):
		return floatDecoder(t)
	case t == anyType || t.Kind() == reflect.Interface && t.NumMethod() == 0:
		return decodeAny
	}
	c.problem(path, "is a %v, which can't be made of JSON: give it another type, or tag it json:\"-\"", t)
	return nil
}

func isInt(t reflect.Type) bool   { return reflect.Int <= t.Kind() && t.Kind() <= reflect.Int64 }
func isUint(t reflect.Type) bool  { return reflect.Uint <= t.Kind() && t.Kind() <= reflect.Uintptr }
func isFloat(t reflect.Type) bool { return t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 }

func (c *compiler) problem(path, format string, args ...any) {
	c.problems = append(c.problems, "field "+path+" "+fmt.Sprintf(format, args...))
}

// special is the decoder of a type that is read in a way of its own, or nil.
func special(t reflect.Type) decoder {
	switch t {
	case timeType:
		return decodeTime
	case durationType:
		return decodeDuration
	case uuidType:
		return decodeUUID
	case bigIntType:
		return decodeBigInt
	case numberType:
		return decodeNumber
	case rawType:
		return decodeRaw
	}
	return nil
}

// selfRead is the decoder of a type that reads itself, or nil. As in encoding/json, UnmarshalJSON goes before UnmarshalText.
func selfRead(t reflect.Type) decoder {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil
	}
	switch p := reflect.PointerTo(t); {
	case p.Implements(unmarshalerType):
		return decodeFromJSON
	case p.Implements(fromTextType):
		return decodeFromText
	}
	return nil
}

// readsText says whether a struct is read from a string and nothing else.
func readsText(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(fromTextType) && !p.Implements(unmarshalerType)
}

// decodeFromJSON hands the raw value, null too, to the type's UnmarshalJSON.
func decodeFromJSON(w *walker, v reflect.Value) {
	t, raw := w.rawToken()
	if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(raw); err != nil {
		w.refused(t, err)
	}
}

func decodeFromText(w *walker, v reflect.Value) {
	t := w.token()
	if t.kind != text {
		w.wrong(t, "text")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(t.text); err != nil {
		w.refused(t, err)
	}
}

func decodeAny(w *walker, v reflect.Value) {
	t, raw := w.rawToken()
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		w.refused(t, err)
	}
}

func decodeRaw(w *walker, v reflect.Value) {
	_, raw := w.rawToken()
	v.SetBytes(append([]byte(nil), raw...))
}

// rawToken is the next token, and beside it the value as it was written.
func (w *walker) rawToken() (token, []byte) {
	start := w.pos
	t := w.token()
	return t, w.data[start:w.pos:w.pos]
}
