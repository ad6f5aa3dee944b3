package keys

import (
	"testing"
	"time"
)

func BenchmarkEncode(b *testing.B) {
	b.Run("string", func(b *testing.B) { benchmark(b, "UA1545/2013-01-01/EWR") })
	b.Run("int", func(b *testing.B) { benchmark(b, 7) })
	b.Run("place", func(b *testing.B) { benchmark(b, place{"Newark", 3}) })
	b.Run("visit", func(b *testing.B) {
		benchmark(b, visit{Who: "Bob", Where: place{"Newark", 3}, At: time.Unix(1357017300, 0)})
	})
	b.Run("prefix", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Prefix(place{"Newark", 3}, 1)
		}
	})
}

func benchmark[K any](b *testing.B, k K) {
	encode, dst := mustEncoder[K](b), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = encode(dst[:0], k)
	}
}
