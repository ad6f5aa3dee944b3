package cqrs_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// A row's key followed by a t looks like what stands beside the row's older versions. Such rows must not get into each other's way.
func TestKeysThatLookLikeTimes(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), modelConfig())
	keys := []string{"a", "a\x00"}
	for _, at := range []uint64{1, 5, 9, 10, 17, 26, 33} {
		keys = append(keys, string(binary.BigEndian.AppendUint64([]byte("a"), at)))
	}
	const commits = 60
	for i := range commits {
		var rows []item
		for k, key := range keys {
			if i%(k+1) == 0 {
				rows = append(rows, item{Name: []byte(key), Rev: i + 1})
			}
		}
		mustSubmit(t, rt, changeOf(puts("names", rows...)))
	}
	for at := range uint64(commits + 1) {
		for k, key := range keys {
			row, err := names.Get(rt.AsOf(at), key)
			if want := revOf(at, k+1); row.Rev != want || (err == nil) != (want > 0) {
				t.Errorf("as of t %d: %q is version %d, wanted %d (%v)", at, key, row.Rev, want, err)
			}
		}
	}
}

// revOf is the version at t of a row that every so many commits write, the first one included: each bears its t.
func revOf(t uint64, every int) int {
	if t == 0 {
		return 0
	}
	return (int(t)-1)/every*every + 1
}

// Within a batch a decision sees the value at its basis, also where the versions it needs have not been written to the file yet.
func TestAsOfBasisWithinABatch(t *testing.T) {
	cfg, again := modelConfig(), &retries{}
	cfg.Log = again.log()
	rt, _, _ := start(t, t.TempDir(), cfg)
	q := query{Source: "numbers", Op: "get"}
	var envelopes []cqrs.Envelope
	var wants []uint64 // the basis of each probe; 0: a change
	for at, last := uint64(1), uint64(0); at <= 130; at++ {
		envelopes, wants = append(envelopes, changeOf(puts("numbers", item{Rev: int(at)}))), append(wants, 0)
		last = at
		for _, back := range []uint64{0, 1, 2, 9, 40} {
			if at%10 == 0 && last > back {
				envelopes = append(envelopes, probeFor(cqrs.AsOfBasis, last-back, false, q))
				wants = append(wants, last-back)
				at++
			}
		}
	}
	checkProbes(t, rt, envelopes[:40], wants[:40]) // the next batch needs versions from the file and from itself
	checkProbes(t, rt, envelopes[40:], wants[40:])
	for range 10 { // the version that the first change of a batch replaces
		now := rt.View().T()
		change := changeOf(puts("numbers", item{Rev: int(now) + 1}))
		checkProbes(t, rt, []cqrs.Envelope{change, probeFor(cqrs.AsOfBasis, now, false, q)}, []uint64{0, now})
	}
	if n := again.Load(); n > 0 {
		t.Errorf("%d batches were tried again", n)
	}
}

// checkProbes submits all at once, and compares what the probes see.
func checkProbes(t *testing.T, rt *cqrs.Runtime, envelopes []cqrs.Envelope, wants []uint64) {
	t.Helper()
	receipts, err := rt.Submit(patience(t), envelopes...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		out, err := r.Wait(patience(t))
		if err != nil {
			t.Fatal(err)
		}
		if wants[i] == 0 {
			continue
		}
		want := query{Source: "numbers", Op: "get"}.ask(rt.AsOf(wants[i]))
		if got := out.Events[0].Value.(answered).Answers[0]; got != want {
			t.Errorf("as of t %d: %s, wanted %s", wants[i], got, want)
		}
	}
}

// What is taken away twice is taken away once.
func TestSecondDeleteIsNoVersion(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), modelConfig())
	row := item{Num: 7, Rev: 1}
	taken := []op{{Do: "delete", Table: "numbers", Row: row}}
	for _, ops := range [][]op{puts("numbers", row), taken, taken, puts("numbers", row), taken} {
		mustSubmit(t, rt, changeOf(ops))
	}
	want := fmt.Sprintf("5: none 4: %v 2: none 1: %v", row, row)
	if got := checkedNumbers.history(rt.View(), row); got != want {
		t.Errorf("history %s, wanted %s", got, want)
	}
	mustSubmit(t, rt, changeOf(taken))
	mustSubmit(t, rt, probeFor(cqrs.Unchanged, 5, false, query{Source: "numbers", Op: "has", A: row}))
}
