package sqlview

import (
	"bytes"
	"cmp"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
)

// class is what SQL sees of a Go type.
type class int

const (
	none class = iota
	text
	integer
	unsigned
	real
	boolean
	moment
	id
	blob
	marshaled // by MarshalText
	encoded   // as JSON
)

// declared are the types of the columns. Those with TEXT in them compare as text, whatever else their names say.
var declared = [...]string{
	text: "TEXT", integer: "INTEGER", unsigned: "INTEGER", real: "REAL", boolean: "BOOLEAN", moment: timeType, id: "UUID TEXT",
	blob: "BLOB", marshaled: "TEXT", encoded: "JSON TEXT",
}

const (
	timeType   = "TIMESTAMP TEXT"
	timeLayout = "2006-01-02 15:04:05.999999999" // without the fraction's zeros, so that the order of the texts is that of the times
)

var (
	goTime        = reflect.TypeFor[time.Time]()
	goUUID        = reflect.TypeFor[uuid.UUID]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

func implements(t, what reflect.Type) bool {
	return t.Implements(what) || reflect.PointerTo(t).Implements(what)
}

// classOf is none for what can't be a column.
func classOf(t reflect.Type) class {
	switch kind := t.Kind(); {
	case kind == reflect.Struct && t.ConvertibleTo(goTime):
		return moment
	case t == goUUID:
		return id
	case implements(t, textMarshaler):
		return marshaled
	case implements(t, jsonMarshaler):
		return encoded
	case kind == reflect.String:
		return text
	case kind >= reflect.Int && kind <= reflect.Int64:
		return integer
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		return unsigned
	case kind == reflect.Float32 || kind == reflect.Float64:
		return real
	case kind == reflect.Bool:
		return boolean
	case (kind == reflect.Slice || kind == reflect.Array) && t.Elem().Kind() == reflect.Uint8:
		return blob
	case kind == reflect.Chan || kind == reflect.Func || kind == reflect.UnsafePointer || kind == reflect.Complex64 || kind == reflect.Complex128:
		return none
	}
	return encoded
}

// column is a column of a table. get gives an invalid Value where a pointer on the way is nil.
type column struct {
	name  string
	class class
	get   func(row reflect.Value) reflect.Value
}

// sql is the column's value in a row.
func (c *column) sql(row reflect.Value) (driver.Value, error) {
	v, err := toSQL(c.class, c.get(row))
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.name, err)
	}
	return v, nil
}

// pointee follows pointers; it is invalid when one of them is nil.
func pointee(v reflect.Value) reflect.Value {
	for v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}

func toSQL(c class, v reflect.Value) (driver.Value, error) {
	if v = pointee(v); !v.IsValid() {
		return nil, nil
	}
	switch c {
	case text:
		return v.String(), nil
	case integer:
		return v.Int(), nil
	case unsigned:
		return unsignedSQL(v.Uint())
	case real:
		return realSQL(v.Float()), nil
	case boolean:
		return boolSQL(v.Bool()), nil
	case moment:
		return momentSQL(v.Convert(goTime).Interface().(time.Time))
	case id:
		return v.Interface().(uuid.UUID).String(), nil
	case blob:
		return blobSQL(v), nil
	case marshaled:
		return marshaledSQL(v)
	}
	return jsonSQL(v)
}

var errUnsigned = errors.New("an unsigned number above 9223372036854775807 has no place in SQL")

func unsignedSQL(u uint64) (driver.Value, error) {
	if u > math.MaxInt64 {
		return nil, errUnsigned
	}
	return int64(u), nil
}

// realSQL makes NULL of NaN, as SQLite does.
func realSQL(f float64) driver.Value {
	if math.IsNaN(f) {
		return nil
	}
	return f
}

func boolSQL(b bool) driver.Value {
	if b {
		return int64(1)
	}
	return int64(0)
}

var errYear = errors.New("a time is outside of the years 0 to 9999")

func momentSQL(t time.Time) (driver.Value, error) {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		return nil, errYear
	}
	return t.Format(timeLayout), nil
}

func blobSQL(v reflect.Value) driver.Value {
	if v.Kind() == reflect.Slice {
		if v.IsNil() {
			return nil
		}
		return v.Bytes()
	}
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return b
}

func marshaledSQL(v reflect.Value) (driver.Value, error) {
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		m = p.Interface().(encoding.TextMarshaler)
	}
	b, err := m.MarshalText()
	return string(b), err
}

func jsonSQL(v reflect.Value) (driver.Value, error) {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
	}
	b, err := json.Marshal(v.Interface())
	return string(b), err
}

// columnsOf lists the columns of a row type.
func columnsOf(t reflect.Type) []*column {
	var f flattening
	f.add("", t, nil, nil)
	return f.columns
}

type flattening struct{ columns []*column }

// add adds the columns of a value: its own, or those of its fields. above are the structs that it is in.
func (f *flattening) add(name string, t reflect.Type, path []int, above []reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	c := classOf(t)
	if c == none {
		return
	}
	if c != encoded || t.Kind() != reflect.Struct || implements(t, jsonMarshaler) || holds(above, t) {
		if name == "" {
			name = "value" // rows that are no structs have one column
		}
		f.columns = append(f.columns, &column{name: name, class: c, get: getter(path)})
		return
	}
	above = append(above[:len(above):len(above)], t)
	for i := range t.NumField() {
		field := t.Field(i)
		if part, ok := partName(field); ok {
			f.add(join(name, part), field.Type, append(path[:len(path):len(path)], i), above)
		}
	}
}

func holds(list []reflect.Type, t reflect.Type) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}

func join(name, part string) string {
	if name == "" || part == "" {
		return name + part
	}
	return name + "_" + part
}

// partName is what a field adds to a column's name: nothing, if it is embedded. It is not ok for a field that is not stored.
func partName(f reflect.StructField) (string, bool) {
	tag, ok := f.Tag.Lookup("cbor")
	if !ok {
		tag = f.Tag.Get("json")
	}
	name, rest, _ := strings.Cut(tag, ",")
	switch {
	case tag == "-":
		return "", false
	case f.Anonymous && name == "" && structUnder(f.Type):
		return "", true
	case !f.IsExported():
		return "", false
	case name == "" || strings.Contains(rest, "keyasint"):
		return strings.ToLower(f.Name), true
	}
	return name, true
}

func structUnder(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func getter(path []int) func(reflect.Value) reflect.Value {
	return func(v reflect.Value) reflect.Value {
		for _, i := range path {
			if v = pointee(v); !v.IsValid() {
				return v
			}
			v = v.Field(i)
		}
		return v
	}
}

// compareSQL compares as SQLite orders values: NULL, numbers, texts, blobs.
func compareSQL(a, b driver.Value) int {
	if c := cmp.Compare(rankSQL(a), rankSQL(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(float64(a), b.(float64))
	case float64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, float64(b))
		}
		return cmp.Compare(a, b.(float64))
	}
	return 0
}

func rankSQL(v driver.Value) int {
	switch v.(type) {
	case nil:
		return 0
	case int64, float64:
		return 1
	case string:
		return 2
	}
	return 3
}
