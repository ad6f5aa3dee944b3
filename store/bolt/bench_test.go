package bolt

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

var behind = flag.Int("behind", 2_000_000, "how many records the larger benchmarks have behind them")

const batchSize = 1000

// filler makes records as an owner of a shard does: new, in order, one event of 160 bytes each.
type filler struct {
	tb      testing.TB
	f       *boltfile.File
	s       *Store
	t       uint64
	sampled []store.Record
	command func() uuid.UUID
}

func newFiller(tb testing.TB) *filler {
	f, err := boltfile.Open(filepath.Join(tb.TempDir(), "file"), boltfile.Options{Kind: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return &filler{tb: tb, f: f, s: On(f), command: newV7}
}

func newV7() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func (b *filler) batch(n int) []store.Record {
	rs := make([]store.Record, n)
	for i := range rs {
		b.t++
		rs[i] = viewed(b.t, b.command())
	}
	b.sampled = append(b.sampled, rs[rand.IntN(n)])
	return rs
}

func viewed(t uint64, command uuid.UUID) store.Record {
	data := make([]byte, 160)
	for i := range data {
		data[i] = byte('a' + rand.IntN(26))
	}
	return store.Record{
		Envelope: store.Envelope{
			T: t, Command: command, CommandType: "user/view-page", Key: "user-1234", Time: 1_700_000_000_000 + int64(t),
			Basis: t - 1, Code: "v1",
		},
		Prev:   data[:32],
		Events: []store.Event{{ID: ids.Event(command, 0, "1"), Segment: "1", Type: "user/page-viewed", Data: data}},
	}
}

func (b *filler) put(rs []store.Record, known bool) {
	tx, err := b.f.Begin()
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := b.s.PutTx(tx.Tx, rs, known); err != nil {
		b.tb.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *filler) fill(n int) {
	for range n / batchSize {
		b.put(b.batch(batchSize), true)
	}
}

// BenchmarkPutTx puts batches of 1,000, at the start of a file and with many records behind them.
func BenchmarkPutTx(b *testing.B) {
	for name, command := range map[string]func() uuid.UUID{"v4": uuid.New, "v7": newV7} {
		for _, n := range []int{0, *behind} {
			fl := newFiller(b)
			fl.command = command
			fl.fill(n)
			for _, known := range []bool{true, false} {
				b.Run(fmt.Sprintf("ids=%s/behind=%d/known=%v", name, n, known), fl.benchmark(known))
			}
		}
	}
}

func (fl *filler) benchmark(known bool) func(*testing.B) {
	return func(b *testing.B) {
		size, count := fl.f.Size(), 0
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			rs := fl.batch(batchSize)
			b.StartTimer()
			fl.put(rs, known)
			count += batchSize
		}
		b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(fl.f.Size()-size)/float64(count), "B/event")
	}
}

// BenchmarkRead looks for events and commits at random, and reads log and index in order.
func BenchmarkRead(b *testing.B) {
	fl := newFiller(b)
	fl.fill(*behind)
	b.ReportMetric(float64(fl.f.Size())/float64(fl.t), "B/event")
	ctx := context.Background()
	b.Run("Event", func(b *testing.B) {
		for b.Loop() {
			if _, err := fl.s.Event(ctx, fl.one().Events[0].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("EventMissing", func(b *testing.B) {
		for b.Loop() {
			if _, err := fl.s.Event(ctx, uuid.New()); err == nil {
				b.Fatal("found")
			}
		}
	})
	b.Run("Commit", func(b *testing.B) {
		for b.Loop() {
			if _, err := fl.s.Commit(ctx, fl.one().Command); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Log", func(b *testing.B) {
		read(b, func(yield func(error) bool) {
			for _, err := range fl.s.Log(ctx, 0, 1) {
				if !yield(err) {
					return
				}
			}
		})
	})
	b.Run("Query", func(b *testing.B) {
		read(b, func(yield func(error) bool) {
			for _, err := range fl.s.Query(ctx, store.Query{}) {
				if !yield(err) {
					return
				}
			}
		})
	})
}

func (b *filler) one() *store.Record { return &b.sampled[rand.IntN(len(b.sampled))] }

// read measures one step of an iteration, which begins again at its end.
func read(b *testing.B, seq func(func(error) bool)) {
	n := 0
	for n < b.N {
		for err := range seq {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n >= b.N {
				break
			}
		}
	}
}
