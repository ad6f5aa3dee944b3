package cqrs

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

var rowMode, rowDecoder = rowModes()

// rowModes: core deterministic CBOR, so that a row has one form on every replica.
func rowModes() (cbor.UserBufferEncMode, cbor.DecMode) {
	options := cbor.CoreDetEncOptions()
	options.Time = cbor.TimeRFC3339NanoUTC
	enc, err := options.UserBufferEncMode()
	dec, err2 := cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
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
