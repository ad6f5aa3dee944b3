package coerce

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"

	"github.com/google/uuid"
)

func decodeString(w *walker, v reflect.Value) {
	t := w.token()
	if t.kind != text {
		w.wrong(t, "text")
		return
	}
	v.SetString(w.string(t))
}

// decodeBool takes true and false, and the same as strings. The original read the empty string as false: we read it as a mistake.
func decodeBool(w *walker, v reflect.Value) {
	t := w.token()
	switch {
	case t.kind != boolean && t.kind != text:
		w.fault("is " + t.show() + ", which is neither true nor false")
	case bytes.EqualFold(t.text, []byte("true")):
		v.SetBool(true)
	case !bytes.EqualFold(t.text, []byte("false")):
		w.fault("is " + t.show() + ", which is neither true nor false")
	}
}

// whole reads a whole number from a JSON integer or a string. It notes what is wrong and is false otherwise. JSON numbers with a point
// or an exponent are refused, 33.0 too, as in the original: their writer means a measure and no count.
func (w *walker) whole(t token) (whole, bool) {
	if t.kind == number || t.kind == text {
		if n, ok := parseWhole(t.text, t.kind == text); ok {
			return n, true
		}
	}
	w.wrong(t, "whole number")
	return whole{}, false
}

func intDecoder(t reflect.Type) decoder {
	size := t.Bits()
	limit := uint64(1) << (size - 1) // of the negative ones
	problem := fmt.Sprintf("%v (%d to %d)", t.Kind(), int64(-1)<<(size-1), limit-1)
	return func(w *walker, v reflect.Value) {
		t := w.token()
		n, ok := w.whole(t)
		if !ok {
			return
		}
		m, ok := n.magnitude()
		switch {
		case ok && n.negative && m <= limit:
			v.SetInt(-int64(m))
		case ok && !n.negative && m < limit:
			v.SetInt(int64(m))
		default:
			w.fault("is " + t.show() + ", which does not fit in " + problem)
		}
	}
}

func uintDecoder(t reflect.Type) decoder {
	limit := ^uint64(0) >> (64 - t.Bits())
	problem := fmt.Sprintf("%v (0 to %d)", t.Kind(), limit)
	return func(w *walker, v reflect.Value) {
		t := w.token()
		n, ok := w.whole(t)
		if !ok {
			return
		}
		m, ok := n.magnitude()
		if !ok || m > limit || n.negative && m > 0 {
			w.fault("is " + t.show() + ", which does not fit in " + problem)
			return
		}
		v.SetUint(m)
	}
}

// maxBigDigits bounds a big.Int, so that a short text such as 1e999999999 is no large number.
const maxBigDigits = 4096

// decodeBigInt reads a big.Int as the other whole numbers are read. Its own UnmarshalText would take 031 for octal.
func decodeBigInt(w *walker, v reflect.Value) {
	t := w.token()
	n, ok := w.whole(t)
	if !ok {
		return
	}
	if int64(len(n.digits))+n.zeros > maxBigDigits {
		w.fault(fmt.Sprintf("is %s, which has more than %d digits", t.show(), maxBigDigits))
		return
	}
	all := append([]byte{'0'}, n.digits...)
	all = append(all, bytes.Repeat([]byte{'0'}, int(n.zeros))...)
	value := v.Addr().Interface().(*big.Int)
	value.SetString(string(all), 10)
	if n.negative {
		value.Neg(value)
	}
}

func floatDecoder(t reflect.Type) decoder {
	size := t.Bits()
	return func(w *walker, v reflect.Value) {
		t := w.token()
		if !t.isDecimal() {
			w.wrong(t, "number")
			return
		}
		f, err := strconv.ParseFloat(string(t.text), size)
		switch {
		case errors.Is(err, strconv.ErrRange):
			w.fault(fmt.Sprintf("is %s, which is too large for a float%d", t.show(), size))
		case err != nil:
			w.wrong(t, "number")
		default:
			v.SetFloat(f)
		}
	}
}

func (t token) isDecimal() bool {
	return (t.kind == number || t.kind == text) && isDecimal(t.text)
}

func decodeNumber(w *walker, v reflect.Value) {
	t := w.token()
	if !t.isDecimal() || validNumber(t.text, 0) != len(t.text) {
		w.wrong(t, "number")
		return
	}
	v.SetString(w.string(t))
}

func decodeUUID(w *walker, v reflect.Value) {
	t := w.token()
	id, ok := parseUUID(t.text)
	if t.kind != text || !ok {
		w.wrong(t, "uuid in the form 00000000-0000-0000-0000-000000000000")
		return
	}
	*v.Addr().Interface().(*uuid.UUID) = id
}

// parseUUID takes the form of 36 characters only. uuid.Parse knows others (urn:uuid:, braces, no dashes); one value should have one
// text.
func parseUUID(b []byte) (uuid.UUID, bool) {
	if len(b) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.ParseBytes(b)
	return id, err == nil
}
