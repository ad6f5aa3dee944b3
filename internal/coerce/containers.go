package coerce

import (
	"encoding"
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
)

func (c *compiler) pointer(t reflect.Type, path string) decoder {
	if t.Elem().Kind() == reflect.Pointer {
		c.problem(path, "is a %v, a pointer to a pointer: use one", t)
		return nil
	}
	elem := c.compile(t.Elem(), path)
	return func(w *walker, v reflect.Value) {
		if w.null() {
			return
		}
		v.Set(reflect.New(t.Elem()))
		elem.decode(w, v.Elem())
	}
}

// null passes a null, if there is one.
func (w *walker) null() bool {
	if w.kind() != null {
		return false
	}
	w.skip()
	return true
}

func (c *compiler) slice(t reflect.Type, path string) decoder {
	s := &sequence{c.compile(t.Elem(), path+"[]")}
	if t.Elem().Kind() == reflect.Uint8 && selfRead(t.Elem()) == nil {
		return func(w *walker, v reflect.Value) {
			if w.kind() == text {
				decodeBytes(w, v)
				return
			}
			s.slice(w, v)
		}
	}
	return s.slice
}

func (c *compiler) array(t reflect.Type, path string) decoder {
	return (&sequence{c.compile(t.Elem(), path+"[]")}).array
}

// sequence reads lists of one element type.
type sequence struct {
	elem *node
}

func (s *sequence) slice(w *walker, v reflect.Value) {
	if w.null() || !w.enterList() {
		return
	}
	n := 0
	for ; w.next(); n++ {
		v.Grow(1)
		v.SetLen(n + 1)
		w.at(step{index: n})
		s.elem.decode(w, v.Index(n))
	}
	if n == 0 {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	w.leave()
}

func (s *sequence) array(w *walker, v reflect.Value) {
	if !w.enterList() {
		return
	}
	n := 0
	for ; w.next(); n++ {
		w.at(step{index: n})
		if n < v.Len() {
			s.elem.decode(w, v.Index(n))
		} else {
			w.skip()
		}
	}
	w.leave()
	if n != v.Len() {
		w.fault(fmt.Sprintf("has %d elements, and must have %d", n, v.Len()))
	}
}

// enterList goes into a list. It is false, with the fault noted, if there is none.
func (w *walker) enterList() bool {
	if w.kind() != array {
		w.wrong(w.token(), "list")
		return false
	}
	if !w.enter() {
		return false
	}
	w.pos++
	return true
}

func decodeBytes(w *walker, v reflect.Value) {
	t := w.token()
	b := make([]byte, base64.StdEncoding.DecodedLen(len(t.text)))
	n, err := base64.StdEncoding.Decode(b, t.text)
	if err != nil {
		w.wrong(t, "base64")
		return
	}
	v.SetBytes(b[:n])
}

// mapping reads maps of one type.
type mapping struct {
	typ  reflect.Type
	key  keyReader
	elem *node
}

func (c *compiler) mapping(t reflect.Type, path string) decoder {
	key := keyReaderOf(t.Key())
	if key == nil {
		c.problem(path, "is a %v, whose keys can't be made of strings: use strings, integers or a type with UnmarshalText", t)
		return nil
	}
	return (&mapping{t, key, c.compile(t.Elem(), path+"[]")}).decode
}

func (m *mapping) decode(w *walker, v reflect.Value) {
	if w.null() {
		return
	}
	if w.kind() != object {
		w.wrong(w.token(), "object")
		return
	}
	if !w.enter() {
		return
	}
	w.pos++
	v.Set(reflect.MakeMap(m.typ))
	for w.next() {
		m.entry(w, v)
	}
	w.leave()
}

func (m *mapping) entry(w *walker, v reflect.Value) {
	t := w.key()
	w.at(step{w.string(t), isKey})
	key := reflect.New(m.typ.Key()).Elem()
	if problem := m.key(w, t, key); problem != "" {
		w.fault("has a key that " + problem)
		w.skip()
		return
	}
	if v.MapIndex(key).IsValid() {
		w.fault("stands twice in the data")
		w.skip()
		return
	}
	elem := reflect.New(m.typ.Elem()).Elem()
	m.elem.decode(w, elem)
	v.SetMapIndex(key, elem)
}

// keyReader sets a map's key, and gives the problem if it can't.
type keyReader func(w *walker, t token, key reflect.Value) string

// keyReaderOf follows encoding/json: strings first, then types that read themselves, then integers.
func keyReaderOf(t reflect.Type) keyReader {
	switch {
	case t.Kind() == reflect.String && !reflect.PointerTo(t).Implements(fromTextType):
		return stringKey
	case t == uuidType:
		return uuidKey
	case t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(fromTextType):
		return textKey
	case isInt(t):
		return intKey
	case isUint(t):
		return uintKey
	}
	return nil
}

func stringKey(w *walker, t token, key reflect.Value) string {
	key.SetString(w.string(t))
	return ""
}

func uuidKey(_ *walker, t token, key reflect.Value) string {
	id, ok := parseUUID(t.text)
	if !ok {
		return "is no uuid"
	}
	key.Set(reflect.ValueOf(id))
	return ""
}

func textKey(_ *walker, t token, key reflect.Value) string {
	if err := key.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(t.text); err != nil {
		return "can't be read: " + cut(err.Error(), maxDetail)
	}
	if !key.Comparable() {
		return "can't be compared with others"
	}
	return ""
}

func intKey(_ *walker, t token, key reflect.Value) string {
	n, err := strconv.ParseInt(string(t.text), 10, key.Type().Bits())
	if err != nil {
		return "is no whole number that fits in " + key.Type().String()
	}
	key.SetInt(n)
	return ""
}

func uintKey(_ *walker, t token, key reflect.Value) string {
	n, err := strconv.ParseUint(string(t.text), 10, key.Type().Bits())
	if err != nil {
		return "is no whole number that fits in " + key.Type().String()
	}
	key.SetUint(n)
	return ""
}
