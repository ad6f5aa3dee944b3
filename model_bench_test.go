package cqrs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

// versionsOf makes n commits that write one row, as one fold each.
func versionsOf(n int) [][]op {
	row := named("a", "group", "mail", "tag")
	folds := make([][]op, n)
	for i := range folds {
		row.Rev = i + 1
		folds[i] = puts("numbers", row)
	}
	return folds
}

// BenchmarkGet reads a row that has 10,000 versions, and one that has one.
func BenchmarkGet(b *testing.B) {
	const versions = 10_000
	rt := openModel(b, versionsOf(versions)...)
	submitAll(b, rt, puts("numbers", item{Num: 1}))
	newest := rt.View().T()
	for _, c := range []struct {
		name string
		t    uint64
		num  int
	}{
		{"newest", newest, 0}, {"newest-of-one", newest, 1}, {"1-back", versions - 1, 0}, {"100-back", versions - 100, 0},
		{"5000-back", versions / 2, 0}, {"first", 1, 0}, {"before-first", 0, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := rt.AsOf(c.t)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := numbers.Get(v, c.num); (err == nil) != (c.t > 0) {
					b.Fatal(err)
				}
			}
		})
	}
}

// timedFold measures what a Put takes within a fold.
type timedFold struct{ spent time.Duration }

func (f *timedFold) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	o := e.(changed).Ops[0]
	began := time.Now()
	err := modelTables[o.Table].put(tx, o.Row)
	f.spent += time.Since(began)
	return err
}

// BenchmarkPut writes rows, one a commit: ns/put is the Put alone, ns/op the whole commit.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name, table string
		rows        int
	}{{"one-row", "numbers", 1}, {"1000-rows", "numbers", 1000}, {"four-indexes", "names", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			cfg, fold := modelConfig(), &timedFold{}
			cfg.Aggregator = fold
			m := &modelRun{dir: b.TempDir()}
			m.openWith(b, cfg)
			folds := make([][]op, b.N)
			for i := range folds {
				row := named(fmt.Sprint("n", i%c.rows), fmt.Sprint("g", i%7), fmt.Sprint("m", i%c.rows), "tag")
				row.Num, row.Rev = i%c.rows, i
				folds[i] = puts(c.table, row)
			}
			b.ResetTimer()
			submitAll(b, m.rt, folds...)
			b.StopTimer()
			if err := m.close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(fold.spent.Nanoseconds())/float64(b.N), "ns/put")
		})
	}
}
