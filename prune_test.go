package cqrs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

func TestHistoryIsBounded(t *testing.T) {
	for name, bound := range map[string]func(*cqrs.Config){
		"by t":   func(c *cqrs.Config) { c.KeepHistory = 100 },
		"by age": func(c *cqrs.Config) { c.KeepFor = 100 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			cfg, free := counterConfig(), counterConfig()
			bound(&cfg)
			rt, _, _ := start(t, t.TempDir(), cfg)
			all, _, _ := start(t, t.TempDir(), free)
			const n = 6000
			for i := range n / 50 {
				for _, r := range []*cqrs.Runtime{rt, all} {
					var envelopes []cqrs.Envelope
					for k := range 50 {
						at := i*50 + k
						envelopes = append(envelopes, cqrs.Envelope{Type: "counter/add", Time: time.Unix(int64(at), 0),
							Data: fmt.Appendf(nil, `{"name":"c%d","by":1}`, at%7)})
					}
					receipts, err := r.Submit(patience(t), envelopes...)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := receipts[49].Wait(patience(t)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, at := range []uint64{n, n - 1, n - 49, n - 99} {
				for c := range 7 {
					if got, want := value(t, rt.AsOf(at), fmt.Sprint("c", c)), value(t, all.AsOf(at), fmt.Sprint("c", c)); got != want {
						t.Errorf("as of %d: c%d is %d, wanted %d", at, c, got, want)
					}
				}
			}
			if _, err := counters.Get(rt.AsOf(n-300), "c0"); !errors.Is(err, cqrs.ErrPruned) {
				t.Errorf("as of %d: %v", n-300, err)
			}
			small, big := rt.HistoryBytes(t), all.HistoryBytes(t)
			if small*10 > big {
				t.Errorf("bounded history takes %d bytes, all of it %d", small, big)
			}
		})
	}
}

// What was written since a t that is pruned may have been dropped with its history: a Diff must not say that nothing was.
func TestDiffFromThePrunedPast(t *testing.T) {
	cfg := counterConfig()
	cfg.KeepHistory = 2
	rt, _, _ := start(t, t.TempDir(), cfg)
	for range 2 {
		mustDo(t, rt, add{Name: "a", By: 1})
	}
	for range 10 {
		mustDo(t, rt, add{Name: "a", Mode: "nothing"})
	}
	for change, err := range counters.Diff(rt.AsOf(1), rt.View()) {
		if !errors.Is(err, cqrs.ErrPruned) {
			t.Errorf("got %+v, %v", change, err)
		}
		return
	}
	t.Error("it says that nothing was written")
}

func TestBasisFromThePrunedPast(t *testing.T) {
	cfg := counterConfig()
	cfg.KeepHistory, cfg.Consistency = 2, cqrs.AsOfBasis
	rt, _, _ := start(t, t.TempDir(), cfg)
	for range 10 {
		mustDo(t, rt, add{Name: "a", By: 1})
	}
	_, err := do(t, rt, add{Name: "a", By: 1}, cqrs.WithBasis(3))
	wantError(t, err, cqrs.User, "basis")
}
