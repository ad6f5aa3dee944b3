package keys

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// The most common keys are encoded without reflection, and so without an allocation.

func fastEncoder[K any]() (f func(dst []byte, k K) []byte, ok bool) {
	var none K
	var fast any
	switch any(none).(type) {
	case string:
		fast = func(dst []byte, k string) []byte { return append(dst, k...) }
	case int:
		fast = func(dst []byte, k int) []byte { return appendInt(dst, int64(k)) }
	case int64:
		fast = appendInt
	case uint64:
		fast = binary.BigEndian.AppendUint64
	case uuid.UUID:
		fast = func(dst []byte, k uuid.UUID) []byte { return append(dst, k[:]...) }
	}
	f, ok = fast.(func([]byte, K) []byte)
	return f, ok
}

func fastDecoder[K any]() (f func(b []byte) (K, error), ok bool) {
	var none K
	var fast any
	switch any(none).(type) {
	case string:
		fast = func(b []byte) (string, error) { return string(b), nil }
	case int64:
		fast = readInt64
	case uint64:
		fast = readUint64
	case uuid.UUID:
		fast = readUUID
	}
	f, ok = fast.(func([]byte) (K, error))
	return f, ok
}

const signBit = 1 << 63

// appendInt turns the sign bit over, so that the negative numbers come first.
func appendInt(dst []byte, k int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(k)^signBit)
}

func readInt64(b []byte) (int64, error) {
	u, err := readUint64(b)
	if err != nil {
		return 0, err
	}
	return int64(u ^ signBit), nil
}

func readUint64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%d bytes are no integer key: it has 8", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func readUUID(b []byte) (uuid.UUID, error) {
	if len(b) != len(uuid.UUID{}) {
		return uuid.UUID{}, fmt.Errorf("%d bytes are no uuid key: it has 16", len(b))
	}
	return uuid.UUID(b), nil
}
