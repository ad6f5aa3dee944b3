package cqrs

import (
	"errors"
	"fmt"
	"math"
	"reflect"

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
func holdsInterface(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsInterface(t.Elem(), seen)
	case reflect.Map:
		return holdsInterface(t.Key(), seen) || holdsInterface(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsInterface(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
