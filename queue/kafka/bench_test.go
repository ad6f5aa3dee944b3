package kafka

import (
	"fmt"
	"testing"

	"github.com/cqrs-server/cqrs/queue"
)

func benchQueue(b *testing.B) (*Queue, string) {
	q := openQueue(b, realBrokers(b), Config(NewConfig()))
	return q, makeTopic(b, q)
}

func messages(n int) []queue.Message {
	msgs := make([]queue.Message, n)
	for i := range msgs {
		msgs[i] = queue.Message{Time: 1_700_000_000_000 + int64(i), Key: []byte("user-1234"), Value: noise(400)}
	}
	return msgs
}

// BenchmarkAppend appends calls of 1, 100 and 1,000 messages of 400 bytes, one after the other and from 64 goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		for _, parallel := range []bool{false, true} {
			b.Run(fmt.Sprintf("messages=%d/parallel=%v", n, parallel), func(b *testing.B) {
				q, topic := benchQueue(b)
				appendAll := func(more func() bool) {
					msgs := messages(n)
					for more() {
						if err := q.Append(b.Context(), topic, 0, msgs); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportAllocs()
				if parallel {
					b.SetParallelism(32)
					b.RunParallel(func(p *testing.PB) { appendAll(p.Next) })
				} else {
					appendAll(b.Loop)
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkRead reads 200,000 messages of 400 bytes, again and again.
func BenchmarkRead(b *testing.B) {
	q, topic := benchQueue(b)
	const all, part = 200_000, 1000
	for range all / part {
		if err := q.Append(b.Context(), topic, 0, messages(part)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for from := int64(0); from < all; {
			msgs, err := q.Read(b.Context(), topic, 0, from, part)
			if err != nil {
				b.Fatal(err)
			}
			from = msgs[len(msgs)-1].Offset + 1
		}
	}
	b.ReportMetric(float64(b.N*all)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkRoundTrip appends a message and reads it.
func BenchmarkRoundTrip(b *testing.B) {
	q, topic := benchQueue(b)
	msgs := messages(1)
	for b.Loop() {
		if err := q.Append(b.Context(), topic, 0, msgs); err != nil {
			b.Fatal(err)
		}
		if _, err := q.Read(b.Context(), topic, 0, msgs[0].Offset, 1); err != nil {
			b.Fatal(err)
		}
	}
}
