package keys

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// coder encodes and decodes the values of one type. The values can be addressed; read sets one, and gives the bytes behind it.
type coder struct {
	append func(dst []byte, v reflect.Value) []byte
	read   func(b []byte, v reflect.Value) (rest []byte, err error)
	fields []field // of a struct
}

type field struct {
	name string
	*coder
}

var (
	errShort = errors.New("bytes are missing at the end")
	timeType = reflect.TypeFor[time.Time]()
)

// isTime includes types made from time.Time.
func isTime(t reflect.Type) bool { return t.Kind() == reflect.Struct && t.ConvertibleTo(timeType) }

// compile makes the coder of a type that is a part of a key, or lists all that stands in the way.
func compile(t reflect.Type, path string) (*coder, []error) {
	switch kind := t.Kind(); {
	case isTime(t):
		return &coder{append: appendTime, read: readTime}, nil
	case kind == reflect.Struct:
		return compileStruct(t, path)
	case kind == reflect.Array:
		return compileArray(t, path)
	case kind == reflect.String:
		return &coder{append: appendString, read: readString}, nil
	case kind == reflect.Bool:
		return &coder{append: appendBool, read: readBool}, nil
	case kind >= reflect.Int && kind <= reflect.Int64:
		return intCoder(size(t)), nil
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		return uintCoder(size(t)), nil
	case kind == reflect.Float32:
		return &coder{append: appendFloat32, read: readFloat32}, nil
	case kind == reflect.Float64:
		return &coder{append: appendFloat64, read: readFloat64}, nil
	}
	return nil, []error{refuse(path, "is a %v, which has no order as a key", t)}
}

// size is the number of bytes of an integer. An int has 8 on every machine, so that a file may move between them.
func size(t reflect.Type) int {
	if t.Kind() == reflect.Int || t.Kind() == reflect.Uint {
		return 8
	}
	return t.Bits() / 8
}

func refuse(path, format string, args ...any) error {
	if path == "" {
		path = "it"
	} else {
		path = "field " + path
	}
	return fmt.Errorf(path+" "+format, args...)
}

func compileStruct(t reflect.Type, path string) (*coder, []error) {
	if t.NumField() == 0 {
		return nil, []error{refuse(path, "is a struct without fields, which has one value only")}
	}
	c := &coder{}
	var problems []error
	for i := range t.NumField() {
		f := t.Field(i)
		at := f.Name
		if path != "" {
			at = path + "." + f.Name
		}
		if !f.IsExported() {
			problems = append(problems, refuse(at, "is not exported"))
			continue
		}
		part, more := compile(f.Type, at)
		problems = append(problems, more...)
		c.fields = append(c.fields, field{f.Name, part})
	}
	c.append = func(dst []byte, v reflect.Value) []byte { return c.appendFields(dst, v, len(c.fields)) }
	c.read = c.readFields
	return c, problems
}

// appendFields appends the first n fields.
func (c *coder) appendFields(dst []byte, v reflect.Value, n int) []byte {
	for i := range c.fields[:n] {
		dst = c.fields[i].append(dst, v.Field(i))
	}
	return dst
}

func (c *coder) readFields(b []byte, v reflect.Value) (rest []byte, err error) {
	for i := range c.fields {
		if b, err = c.fields[i].read(b, v.Field(i)); err != nil {
			return nil, fmt.Errorf("%s: %w", c.fields[i].name, err)
		}
	}
	return b, nil
}

func compileArray(t reflect.Type, path string) (*coder, []error) {
	if t.Len() == 0 {
		return nil, []error{refuse(path, "is an array without elements, which has one value only")}
	}
	if t.Elem().Kind() == reflect.Uint8 {
		return &coder{append: appendBytes, read: readBytes}, nil
	}
	elem, problems := compile(t.Elem(), path+"[]")
	return &coder{append: elem.appendElements, read: elem.readElements}, problems
}

func (c *coder) appendElements(dst []byte, v reflect.Value) []byte {
	for i := range v.Len() {
		dst = c.append(dst, v.Index(i))
	}
	return dst
}

func (c *coder) readElements(b []byte, v reflect.Value) (rest []byte, err error) {
	for i := range v.Len() {
		if b, err = c.read(b, v.Index(i)); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return b, nil
}
