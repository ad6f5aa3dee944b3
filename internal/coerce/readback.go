package coerce

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ReadBack reads values of a struct type from what json.Marshal wrote of them, several times faster than json.Unmarshal. It takes only
// what is written in the way of json.Marshal, for a type of which RoundTrips holds; whatever it takes, json.Unmarshal would have made
// the same value of.
type ReadBack struct {
	typ   reflect.Type
	read  readBack
	rooms sync.Pool // of *backRoom: values that are filled and handed out as copies
}

// readBack reads the value at the present position into v. It is false when the value is written in another way.
type readBack func(s *backScan, v reflect.Value) bool

// NewReadBack is nil when values of the type can't be read in this way.
func NewReadBack(t reflect.Type) *ReadBack {
	if t.Kind() != reflect.Struct || t == uuidType || !RoundTrips(t) {
		return nil
	}
	b := &ReadBack{typ: t, read: readBackOf(t)}
	if b.read == nil {
		return nil
	}
	b.rooms.New = func() any { return &backRoom{value: reflect.New(t).Elem()} }
	return b
}

// Read gives the value, a struct. When ok is false the data has to be read by json.Unmarshal. The value keeps no reference to data.
func (b *ReadBack) Read(data []byte) (value any, ok bool) {
	room := b.rooms.Get().(*backRoom)
	room.scan = backScan{text: string(data)}
	if ok = b.read(&room.scan, room.value) && room.scan.pos == len(data); ok {
		value = room.value.Interface()
	}
	room.value.SetZero()
	room.scan.text = ""
	b.rooms.Put(room)
	return value, ok
}

// backRoom is what Read works in.
type backRoom struct {
	value reflect.Value // can be set
	scan  backScan
}

// readBackOf gives the reader of a type of which RoundTrips holds; nil when there is none.
func readBackOf(t reflect.Type) readBack {
	switch {
	case t == uuidType:
		return backUUID
	case t.Kind() == reflect.String:
		return backString
	case t.Kind() == reflect.Bool:
		return backBool
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return backFloat
	case t.Kind() == reflect.Array:
		return backArray(t)
	case t.Kind() == reflect.Struct:
		return backStruct(t)
	case isInt(t):
		return backInt
	case isUint(t):
		return backUint
	}
	return nil
}

// backScan is a place in a text.
type backScan struct {
	text string
	pos  int
}

func (s *backScan) eat(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *backScan) eatText(t string) bool {
	if strings.HasPrefix(s.text[s.pos:], t) {
		s.pos += len(t)
		return true
	}
	return false
}

// number takes the characters of which JSON's numbers consist.
func (s *backScan) number() string {
	start := s.pos
	for s.pos < len(s.text) && isNumberByte(s.text[s.pos]) {
		s.pos++
	}
	return s.text[start:s.pos]
}

func isNumberByte(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// string takes a string.
func (s *backScan) string() (string, bool) {
	if !s.eat('"') {
		return "", false
	}
	start, ascii, escaped := s.pos, true, false
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			t := s.text[start:s.pos]
			s.pos++
			if escaped {
				t = string(unescape(nil, []byte(t)))
			}
			if !escaped && len(s.text) > shareBelow {
				t = strings.Clone(t)
			}
			return t, ascii || utf8.ValidString(t)
		case c == '\\':
			if escaped = true; !s.passEscape() {
				return "", false
			}
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

// passEscape goes to the last character of an escape. It is false for a surrogate, and when it is none that JSON has.
func (s *backScan) passEscape() bool {
	s.pos++
	if s.pos < len(s.text) && strings.IndexByte(`"\/bfnrt`, s.text[s.pos]) >= 0 {
		return true
	}
	if s.pos+5 > len(s.text) || s.text[s.pos] != 'u' {
		return false
	}
	n, err := strconv.ParseUint(s.text[s.pos+1:s.pos+5], 16, 16)
	s.pos += 4
	return err == nil && !utf16.IsSurrogate(rune(n))
}

func backString(s *backScan, v reflect.Value) bool {
	t, ok := s.string()
	if ok {
		v.SetString(t)
	}
	return ok
}

func backUUID(s *backScan, v reflect.Value) bool {
	t, ok := s.string()
	if !ok || len(t) != 36 {
		return false
	}
	id, err := uuid.Parse(t)
	if err == nil {
		v.Set(reflect.ValueOf(id))
	}
	return err == nil
}

func backBool(s *backScan, v reflect.Value) bool {
	b := s.eatText("true")
	v.SetBool(b)
	return b || s.eatText("false")
}

// wholeNumber tells whether a number is written as JSON writes integers.
func wholeNumber(t string) bool {
	digits := strings.TrimPrefix(t, "-")
	return digits != "" && (digits[0] != '0' || len(digits) == 1) && !strings.ContainsAny(t, "+.eE")
}

func backInt(s *backScan, v reflect.Value) bool {
	t := s.number()
	n, err := strconv.ParseInt(t, 10, v.Type().Bits())
	if err != nil || !wholeNumber(t) {
		return false
	}
	v.SetInt(n)
	return true
}

func backUint(s *backScan, v reflect.Value) bool {
	t := s.number()
	n, err := strconv.ParseUint(t, 10, v.Type().Bits())
	if err != nil || !wholeNumber(t) {
		return false
	}
	v.SetUint(n)
	return true
}

func backFloat(s *backScan, v reflect.Value) bool {
	t := s.number()
	n, err := strconv.ParseFloat(t, v.Type().Bits())
	if err != nil || !valid([]byte(t)) {
		return false
	}
	v.SetFloat(n)
	return true
}

func backArray(t reflect.Type) readBack {
	element := readBackOf(t.Elem())
	if element == nil {
		return nil
	}
	return func(s *backScan, v reflect.Value) bool {
		if !s.eat('[') {
			return false
		}
		for i := range v.Len() {
			if i > 0 && !s.eat(',') || !element(s, v.Index(i)) {
				return false
			}
		}
		return s.eat(']')
	}
}

type backField struct {
	key  string // with quotes and colon
	read readBack
}

// backStruct reads the fields in the order in which they are written; some may be left out.
func backStruct(t reflect.Type) readBack {
	fields := make([]backField, t.NumField())
	for i := range fields {
		name := jsonName(t.Field(i))
		fields[i] = backField{`"` + name + `":`, readBackOf(t.Field(i).Type)}
		if fields[i].read == nil || !plainKey(name) {
			return nil
		}
	}
	return func(s *backScan, v reflect.Value) bool {
		if !s.eat('{') {
			return false
		}
		if s.eat('}') {
			return true
		}
		for i := 0; ; i++ {
			for i < len(fields) && !s.eatText(fields[i].key) {
				i++
			}
			if i == len(fields) || !fields[i].read(s, v.Field(i)) {
				return false
			}
			if !s.eat(',') {
				return s.eat('}')
			}
		}
	}
}

// plainKey tells whether json.Marshal writes a name as it is.
func plainKey(name string) bool {
	for _, c := range []byte(name) {
		if c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(`"\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}
