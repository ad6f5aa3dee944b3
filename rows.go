package cqrs

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
)

var rowMode, rowDecoder = rowModes()

// rowModes: core deterministic CBOR, so that a row has one form on every replica. What was written must be read again, so reading has the
// widest bounds, and takes text that is no UTF-8: a name that a fold cut within a letter, say.
func rowModes() (cbor.UserBufferEncMode, cbor.DecMode) {
	options := cbor.CoreDetEncOptions()
	options.Time = cbor.TimeRFC3339NanoUTC
	enc, err := options.UserBufferEncMode()
	dec, err2 := cbor.DecOptions{
		DefaultMapType: reflect.TypeFor[map[string]any](), UTF8: cbor.UTF8DecodeInvalid,
		MaxNestedLevels: math.MaxUint16, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
	}.DecMode()
	if err := errors.Join(err, err2); err != nil {
		panic(err) // the options above are fixed
	}
	return enc, dec
}

func decodeRow(t *tableCore, raw []byte, row any) error {
	if t.plan != nil && t.plan.decode(raw, row) {
		return nil
	}
	if err := rowDecoder.Unmarshal(raw, row); err != nil {
		return fmt.Errorf("cqrs: table %s: a row does not fit its type any more: %w", t.name, err)
	}
	return nil
}

// holdsInterface tells whether rows of the type may hold what can be written and not be read: in an any a map with keys that are no text, in
// another interface anything.
func holdsInterface(t reflect.Type) bool {
	return typeWithin(t, map[reflect.Type]bool{}, func(t reflect.Type) bool { return t.Kind() == reflect.Interface }) != nil
}

// checkRows refuses a type of which rows would keep nothing: it hides its fields, and writes itself as text or JSON only, or is made from
// time.Time.
func checkRows(t reflect.Type) error {
	lost := typeWithin(t, map[reflect.Type]bool{}, hidesFields)
	if lost == nil {
		return nil
	}
	return fmt.Errorf("its rows hold a %v, which has no exported fields to keep: "+
		"give it the methods MarshalBinary and UnmarshalBinary, or keep its text in the row", lost)
}

func hidesFields(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || slices.ContainsFunc(reflect.VisibleFields(t), keptField) {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || p.Implements(reflect.TypeFor[json.Marshaler]()) ||
		t.ConvertibleTo(reflect.TypeFor[time.Time]())
}

func keptField(f reflect.StructField) bool { return f.IsExported() || f.Anonymous }

// typeWithin gives a type of which a row holds values, or itself consists, and that is so; nil when there is none. Values that a type's own code, or the
// CBOR library's, writes are not looked into.
func typeWithin(t reflect.Type, seen map[reflect.Type]bool, is func(reflect.Type) bool) (found reflect.Type) {
	if seen[t] || readsCBOR(t) || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[big.Int]() {
		return nil
	}
	if seen[t] = true; is(t) {
		return t
	}
	switch t.Kind() {
	case reflect.Map:
		return cmp.Or(typeWithin(t.Key(), seen, is), typeWithin(t.Elem(), seen, is))
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return typeWithin(t.Elem(), seen, is)
	case reflect.Struct:
		for i := 0; i < t.NumField() && found == nil; i++ {
			if f := t.Field(i); keptField(f) && f.Tag.Get("cbor") != "-" && f.Tag.Get("json") != "-" {
				found = typeWithin(f.Type, seen, is)
			}
		}
	}
	return found
}
