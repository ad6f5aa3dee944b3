package keys

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
)

// FuzzDecoder looks for panics, and for bytes that are read though no encoder writes them.
func FuzzDecoder(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "\x00\x01", "a\x00\xffb\x00\x01\x80\x01", "a\x00\x02", "a\x00", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x00",
		"\x7f\xff\xff\xff", "\x00\x00\x00\x01", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x0e\x77\x91\xf7\x00\x3b\x9a\xca\x00", "\x02", "0123456789abcdef",
	} {
		f.Add([]byte(seed))
	}
	f.Add(mustEncoder[visit](f)(nil, visit{Who: "a\x00", Where: place{"b", -1}, At: time.Unix(0, 1), Score: -1.5, Tags: [2]string{"\xff", ""}, Last: true}))
	checks := []func(*testing.T, []byte){
		again[string](f), again[name](f), again[int](f), again[int8](f), again[int64](f), again[uint32](f), again[uint64](f), again[float32](f), again[float64](f),
		again[bool](f), again[uuid.UUID](f), again[[3]byte](f), again[time.Time](f), again[place](f), again[visit](f), again[[2]string](f),
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, check := range checks {
			check(t, b)
		}
	})
}

func again[K any](f *testing.F) func(*testing.T, []byte) {
	encode, decode := mustEncoder[K](f), mustDecoder[K](f)
	return func(t *testing.T, b []byte) {
		k, err := decode(b)
		if err != nil {
			return
		}
		if back := encode(nil, k); !bytes.Equal(back, b) {
			t.Errorf("%T: %x was read as %v, which is %x", k, b, k, back)
		}
	}
}
