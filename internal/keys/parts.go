package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"time"
)

func appendRaw(dst []byte, v reflect.Value) []byte { return append(dst, v.String()...) }

func readRaw(b []byte, v reflect.Value) ([]byte, error) {
	v.SetString(string(b))
	return nil, nil
}

// Within a composite a string ends with 0x00 0x01, and its bytes 0x00 are written 0x00 0xff. The end thus comes before whatever could
// follow in a longer string.
const (
	escape  = 0x00
	escaped = 0xff
	ends    = 0x01
)

func appendString(dst []byte, v reflect.Value) []byte {
	s := v.String()
	for {
		i := strings.IndexByte(s, escape)
		if i < 0 {
			return append(append(dst, s...), escape, ends)
		}
		dst = append(append(dst, s[:i]...), escape, escaped)
		s = s[i+1:]
	}
}

func readString(b []byte, v reflect.Value) ([]byte, error) {
	var text []byte
	for {
		i := bytes.IndexByte(b, escape)
		if i < 0 || i+1 == len(b) {
			return nil, errShort
		}
		text = append(text, b[:i]...)
		mark := b[i+1]
		b = b[i+2:]
		switch mark {
		case ends:
			v.SetString(string(text))
			return b, nil
		case escaped:
			text = append(text, escape)
		default:
			return nil, errors.New("a byte 0 in a text is not escaped")
		}
	}
}

func appendBool(dst []byte, v reflect.Value) []byte {
	if v.Bool() {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func readBool(b []byte, v reflect.Value) ([]byte, error) {
	switch {
	case len(b) == 0:
		return nil, errShort
	case b[0] > 1:
		return nil, errors.New("a byte that is neither true nor false")
	}
	v.SetBool(b[0] == 1)
	return b[1:], nil
}

// appendUint appends the lowest size bytes, the highest first.
func appendUint(dst []byte, u uint64, size int) []byte {
	for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(u>>shift))
	}
	return dst
}

func readUint(b []byte, size int) (u uint64, rest []byte, err error) {
	if len(b) < size {
		return 0, nil, errShort
	}
	for _, c := range b[:size] {
		u = u<<8 | uint64(c)
	}
	return u, b[size:], nil
}

var errTooLarge = errors.New("an int that is too large for this machine")

func uintCoder(size int) *coder {
	return &coder{
		append: func(dst []byte, v reflect.Value) []byte { return appendUint(dst, v.Uint(), size) },
		read: func(b []byte, v reflect.Value) ([]byte, error) {
			u, rest, err := readUint(b, size)
			if err == nil && v.OverflowUint(u) {
				err = errTooLarge
			}
			v.SetUint(u)
			return rest, err
		},
	}
}

// intCoder turns the sign bit over, so that the negative numbers come first.
func intCoder(size int) *coder {
	sign, spare := uint64(1)<<(8*size-1), 64-8*size
	return &coder{
		append: func(dst []byte, v reflect.Value) []byte { return appendUint(dst, uint64(v.Int())^sign, size) },
		read: func(b []byte, v reflect.Value) ([]byte, error) {
			u, rest, err := readUint(b, size)
			i := int64((u^sign)<<spare) >> spare
			if err == nil && v.OverflowInt(i) {
				err = errTooLarge
			}
			v.SetInt(i)
			return rest, err
		},
	}
}

func appendBytes(dst []byte, v reflect.Value) []byte { return append(dst, v.Bytes()...) }

func readBytes(b []byte, v reflect.Value) ([]byte, error) {
	if len(b) < v.Len() {
		return nil, errShort
	}
	copy(v.Bytes(), b)
	return b[v.Len():], nil
}

var errFloat = errors.New("a float in a form that is not written")

// float64Bits are in the order of the numbers: all bits of the negative ones are turned over, and the sign bit of the others is set, that
// of -0 included. No number has the bits 0, which are those of NaN.
func float64Bits(f float64) uint64 {
	switch bits := math.Float64bits(f); {
	case f != f:
		return 0
	case f < 0:
		return ^bits
	default:
		return bits | signBit
	}
}

func appendFloat64(dst []byte, v reflect.Value) []byte {
	return binary.BigEndian.AppendUint64(dst, float64Bits(v.Float()))
}

func readFloat64(b []byte, v reflect.Value) ([]byte, error) {
	u, rest, err := readUint(b, 8)
	if err != nil {
		return nil, err
	}
	f := math.NaN()
	switch {
	case u >= signBit:
		f = math.Float64frombits(u ^ signBit)
	case u > 0:
		f = math.Float64frombits(^u)
	}
	if float64Bits(f) != u {
		return nil, errFloat
	}
	v.SetFloat(f)
	return rest, nil
}

// float32Bits is as float64Bits.
func float32Bits(f float32) uint32 {
	switch bits := math.Float32bits(f); {
	case f != f:
		return 0
	case f < 0:
		return ^bits
	default:
		return bits | 1<<31
	}
}

func appendFloat32(dst []byte, v reflect.Value) []byte {
	return binary.BigEndian.AppendUint32(dst, float32Bits(float32(v.Float())))
}

func readFloat32(b []byte, v reflect.Value) ([]byte, error) {
	u, rest, err := readUint(b, 4)
	if err != nil {
		return nil, err
	}
	f := float32(math.NaN())
	switch bits := uint32(u); {
	case bits >= 1<<31:
		f = math.Float32frombits(bits ^ 1<<31)
	case bits > 0:
		f = math.Float32frombits(^bits)
	}
	if float32Bits(f) != uint32(u) {
		return nil, errFloat
	}
	v.SetFloat(float64(f))
	return rest, nil
}

// yearOne is the number of seconds from the year 1 to 1970. time.Time counts from the year 1: so every Time, also one whose Unix wraps
// around, is in its place.
const yearOne = 62135596800

func appendTime(dst []byte, v reflect.Value) []byte {
	t := timeOf(v)
	dst = appendInt(dst, t.Unix()+yearOne)
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

func timeOf(v reflect.Value) *time.Time {
	return v.Addr().Convert(reflect.TypeFor[*time.Time]()).Interface().(*time.Time)
}

func readTime(b []byte, v reflect.Value) ([]byte, error) {
	if len(b) < 12 {
		return nil, errShort
	}
	seconds := int64(binary.BigEndian.Uint64(b)^signBit) - yearOne
	nanos := binary.BigEndian.Uint32(b[8:])
	if nanos >= 1e9 {
		return nil, errors.New("a second has no more than 999999999 nanoseconds")
	}
	*timeOf(v) = time.Unix(seconds, int64(nanos)).UTC()
	return b[12:], nil
}
