package bolt

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
)

func benchQueue(b *testing.B) *Queue {
	f, err := boltfile.Open(filepath.Join(b.TempDir(), "a.db"), boltfile.Options{Kind: "shard"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return On(f)
}

func benchMessages(n int) []queue.Message {
	msgs := make([]queue.Message, n)
	for i := range msgs {
		msgs[i] = queue.Message{Time: 1_700_000_000_000, Key: make([]byte, 16), Value: make([]byte, 300), Headers: []queue.Header{{Key: "type", Value: []byte("user/register")}}}
	}
	return msgs
}

func perMessage(b *testing.B, n int) {
	b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q, msgs := benchQueue(b), benchMessages(n)
			for b.Loop() {
				if err := q.Append(context.Background(), "a", 0, msgs); err != nil {
					b.Fatal(err)
				}
			}
			perMessage(b, n)
		})
	}
}

// BenchmarkAppendTogether has 128 callers of Append, with one message each.
func BenchmarkAppendTogether(b *testing.B) {
	q := benchQueue(b)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		msgs := benchMessages(1)
		for pb.Next() {
			if err := q.Append(context.Background(), "a", 0, msgs); err != nil {
				b.Error(err)
			}
		}
	})
	perMessage(b, 1)
}

func BenchmarkRead(b *testing.B) {
	q := benchQueue(b)
	const n = 1000
	for range 50 {
		if err := q.Append(context.Background(), "a", 0, benchMessages(n)); err != nil {
			b.Fatal(err)
		}
	}
	var from int64
	for b.Loop() {
		if _, err := q.Read(context.Background(), "a", 0, from, n); err != nil {
			b.Fatal(err)
		}
		from = (from + n) % (50 * n)
	}
	perMessage(b, n)
}
