// Package keys encodes Go values as keys of an ordered store: bytes.Compare puts the encodings in the order of the values, no two values
// have the same encoding, and Decoder gives the value back.
//
// A key may be
//
//	a string                          its own bytes, so that a prefix of the text is a prefix of the key
//	an int or uint of any size        in numerical order
//	a float                           in numerical order; NaN comes first, and -0 is 0
//	a bool                            false before true
//	a uuid.UUID, or other bytes [N]   as they stand
//	a time.Time                       by its instant; it comes back in UTC
//
// and a type made from one of these, an array of them, or a struct of them: ordered by the first field, then by the second, and so on.
// Within arrays and structs a string may hold any bytes too, and has its order; it ends with a mark. So the encoding of the first fields
// of a struct (see Prefix) is a prefix of exactly the keys with these values in their first fields.
//
// Two values that are equal in the sense above (0 and -0, one instant in two zones, two NaNs) have one encoding. The encoding of the
// empty string is empty, and not every store takes that as a key.
package keys

import (
	"errors"
	"fmt"
	"reflect"
)

// Encoder gives a function that appends the encoding of a key. The error names what in the type can't be part of a key.
func Encoder[K any]() (func(dst []byte, k K) []byte, error) {
	if f, ok := fastEncoder[K](); ok {
		return f, nil
	}
	c, err := coderOf(reflect.TypeFor[K]())
	if err != nil {
		return nil, err
	}
	return func(dst []byte, k K) []byte {
		return c.append(dst, reflect.ValueOf(&k).Elem())
	}, nil
}

// Decoder gives a function that reads what Encoder's wrote. It accepts nothing else: whatever it reads is encoded to the same bytes again.
func Decoder[K any]() (func(b []byte) (k K, err error), error) {
	if f, ok := fastDecoder[K](); ok {
		return f, nil
	}
	t := reflect.TypeFor[K]()
	c, err := coderOf(t)
	if err != nil {
		return nil, err
	}
	return func(b []byte) (k K, err error) {
		rest, err := c.read(b, reflect.ValueOf(&k).Elem())
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes are left over", len(rest))
		}
		if err != nil {
			var none K
			return none, fmt.Errorf("%d bytes are no key of type %v: %w", len(b), t, err)
		}
		return k, nil
	}, nil
}

// Prefix is the encoding of the first fields of a struct. It is a prefix of the keys that agree with k in these fields, and of no other.
func Prefix[K any](k K, fields int) ([]byte, error) {
	t := reflect.TypeFor[K]()
	if t.Kind() != reflect.Struct || isTime(t) {
		return nil, fmt.Errorf("a key of type %v has no fields to make a prefix of", t)
	}
	if fields < 0 || fields > t.NumField() {
		return nil, fmt.Errorf("a key of type %v has %d fields: a prefix of %d can't be made", t, t.NumField(), fields)
	}
	c, err := coderOf(t)
	if err != nil {
		return nil, err
	}
	return c.appendFields(nil, reflect.ValueOf(&k).Elem(), fields), nil
}

// After is the smallest key that is greater than all keys with the prefix. It is nil when there is none: when the prefix is empty, or has
// no byte below 0xff.
func After(prefix []byte) []byte {
	for end := len(prefix); end > 0; end-- {
		if prefix[end-1] != 0xff {
			after := append([]byte(nil), prefix[:end]...)
			after[end-1]++
			return after
		}
	}
	return nil
}

// coderOf is the coder of a type that stands for a whole key.
func coderOf(t reflect.Type) (*coder, error) {
	if t.Kind() == reflect.String {
		return &coder{append: appendRaw, read: readRaw}, nil
	}
	c, problems := compile(t, "")
	if len(problems) > 0 {
		return nil, fmt.Errorf("type %v can't be a key: %w", t, errors.Join(problems...))
	}
	return c, nil
}
