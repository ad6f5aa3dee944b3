package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// Counters a0, a1, a2 in turn, 1 more each time, one command a second.
func pastOf(t *testing.T, n int) *cqrs.Runtime {
	t.Helper()
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	sendInOneBatch(t, rt, n)
	return rt
}

func sendInOneBatch(t *testing.T, rt *cqrs.Runtime, n int) {
	t.Helper()
	var envelopes []cqrs.Envelope
	for i := range n {
		envelopes = append(envelopes, cqrs.Envelope{
			Type: "counter/add", Time: time.Unix(int64(1000+i), 0), Data: fmt.Appendf(nil, `{"name":"a%d","by":1}`, i%3),
		})
	}
	receipts, err := rt.Submit(patience(t), envelopes...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipts[n-1].Wait(patience(t)); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryOfARow(t *testing.T) {
	rt := pastOf(t, 100)
	for _, at := range []uint64{0, 1, 3, 4, 50, 99, 100} {
		want := uint64(0) // the newest version's t of counter a0, which the commits 1, 4, 7 ... write
		if at > 0 {
			want = (at-1)/3*3 + 1
		}
		n := 0
		for v, err := range counters.History(rt.AsOf(at), "a0") {
			if err != nil {
				t.Fatal(err)
			}
			if v.T != want || v.Deleted || v.Row.Value != int(want+2)/3 {
				t.Fatalf("as of %d, version %d: %+v, wanted t %d", at, n, v, want)
			}
			n++
			want -= 3
		}
		if n != int(at+2)/3 {
			t.Errorf("as of %d: %d versions", at, n)
		}
	}
	for v, err := range counters.History(rt.View(), "nobody") {
		t.Errorf("%+v %v", v, err)
	}
}

func TestDiff(t *testing.T) {
	rt := pastOf(t, 100)
	for _, c := range []struct{ from, to uint64 }{{0, 0}, {0, 1}, {0, 100}, {1, 3}, {10, 11}, {98, 100}, {100, 100}, {7, 93}} {
		got := map[string]cqrs.RowChange[counter]{}
		for change, err := range counters.Diff(rt.AsOf(c.from), rt.AsOf(c.to)) {
			if err != nil {
				t.Fatal(err)
			}
			got[change.After.Name] = change
		}
		for i := range 3 {
			name := fmt.Sprint("a", i)
			before, after := value(t, rt.AsOf(c.from), name), value(t, rt.AsOf(c.to), name)
			change, changed := got[name]
			if changed != (before != after) || changed && (change.Before.Value != before || change.After.Value != after ||
				change.WasThere != (before > 0) || !change.IsThere) {
				t.Errorf("%d to %d: %s %+v, wanted %d to %d", c.from, c.to, name, change, before, after)
			}
		}
	}
	for _, err := range counters.Diff(rt.View(), rt.AsOf(1)) {
		if err == nil {
			t.Error("a diff backwards")
		}
	}
}

func TestLogOfAShard(t *testing.T) {
	rt := pastOf(t, 20)
	want := uint64(5)
	for c, err := range rt.Shard(0).Log(t.Context(), 5, 12) {
		if err != nil || c.T != want || c.Values[0].(added).By != 1 {
			t.Fatalf("%+v %v, wanted t %d", c, err, want)
		}
		want++
	}
	if want != 13 {
		t.Errorf("ended before t %d", want)
	}
	if _, err := rt.Shard(0).Commit(t.Context(), 21); !errors.Is(err, cqrs.ErrNotFound) {
		t.Errorf("commit 21: %v", err)
	}
}

func TestAsOfTime(t *testing.T) {
	rt := pastOf(t, 50)
	for _, c := range []struct {
		seconds float64
		want    uint64
	}{{999.9, 0}, {1000, 1}, {1000.5, 1}, {1001, 2}, {1025.999, 26}, {1049, 50}, {9999, 50}} {
		v, err := rt.Shard(0).AsOfTime(t.Context(), time.UnixMilli(int64(c.seconds*1000)))
		if err != nil || v.T() != c.want {
			t.Errorf("at %v: t %d %v, wanted %d", c.seconds, v.T(), err, c.want)
		}
	}
	mustDo(t, rt, add{Name: "a0", By: 1}, cqrs.WithTime(time.Unix(1010, 0))) // a late one
	for seconds, want := range map[int64]uint64{1005: 6, 1048: 49, 1049: 51} {
		if v, err := rt.Shard(0).AsOfTime(t.Context(), time.Unix(seconds, 0)); err != nil || v.T() != want {
			t.Errorf("at %d: t %d %v, wanted %d", seconds, v.T(), err, want)
		}
	}
}

// lateStore shows nothing behind a t until it may.
type lateStore struct {
	store.Store
	last  uint64
	asked chan struct{}
	may   atomic.Bool
}

func (s *lateStore) Log(ctx context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range s.Store.Log(ctx, shard, from) {
			if err == nil && r.T > s.last && !s.may.Load() {
				signalled(s.asked)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func signalled(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A replica may be ahead of the store, which its owner fills: what is asked for is waited for.
func TestAsOfTimeWaitsForTheStore(t *testing.T) {
	inner, err := boltstore.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	late := &lateStore{Store: inner, last: 3, asked: make(chan struct{}, 1)}
	cfg := counterConfig()
	cfg.Store = late
	rt, _, _ := start(t, t.TempDir(), cfg)
	sendInOneBatch(t, rt, 10)
	got := make(chan uint64, 1)
	go func() {
		v, err := rt.Shard(0).AsOfTime(t.Context(), time.Unix(1005, 0))
		if err != nil {
			t.Error(err)
		}
		got <- v.T()
	}()
	<-late.asked
	late.may.Store(true)
	if at := <-got; at != 6 {
		t.Errorf("t %d", at)
	}
	if v, err := rt.Shard(0).AsOfTime(t.Context(), time.Unix(2000, 0)); err != nil || v.T() != 10 {
		t.Errorf("t %d %v", v.T(), err)
	}
}

func TestReadsOfTheFuture(t *testing.T) {
	rt := pastOf(t, 5)
	if _, err := counters.Get(rt.AsOf(6), "a0"); !errors.Is(err, cqrs.ErrFuture) {
		t.Errorf("get: %v", err)
	}
	for _, err := range counters.All(rt.AsOf(6)) {
		if !errors.Is(err, cqrs.ErrFuture) {
			t.Errorf("all: %v", err)
		}
	}
}
