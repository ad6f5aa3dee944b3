package coerce

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// RoundTrips says that every value of the type that json.Marshal accepts comes back equal (in the sense of ==) from json.Unmarshal. It is
// false when that is not certain. It looks at the type alone, so two things are the caller's to know: json.Marshal replaces bytes of a
// string that are not UTF-8, and fails for floats that are NaN or infinite.
func RoundTrips(t reflect.Type) bool {
	if t == uuidType {
		return true
	}
	if t == numberType || readsOrWritesItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64:
		return true
	case reflect.Array:
		return RoundTrips(t.Elem())
	case reflect.Struct:
		return structRoundTrips(t)
	}
	return isInt(t) || isUint(t) && t.Kind() != reflect.Uintptr
}

func readsOrWritesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshalerType) || p.Implements(fromTextType) ||
		p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// structRoundTrips wants every field under a name of its own. (encoding/json matches names without regard to case.)
func structRoundTrips(t reflect.Type) bool {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		tag := parseTag(f)
		if f.Anonymous || !f.IsExported() || tag.skip || tag.bad || tag.quoted || tag.omitsZero || !RoundTrips(f.Type) {
			return false
		}
		names = append(names, jsonName(f))
	}
	return distinct(names)
}

func distinct(names []string) bool {
	for i, a := range names {
		for _, b := range names[:i] {
			if strings.EqualFold(a, b) {
				return false
			}
		}
	}
	return true
}
