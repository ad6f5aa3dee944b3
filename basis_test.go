package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

func TestBasisAsText(t *testing.T) {
	for text, b := range map[string]cqrs.Basis{
		"0-0": {}, "0-123": {T: 123}, "4095-18446744073709551615": {Shard: 4095, T: math.MaxUint64},
	} {
		got, err := cqrs.ParseBasis(text)
		if err != nil || got != b || b.String() != text || b.ETag() != `"`+text+`"` {
			t.Errorf("%s: %v %v, as text %s, %s", text, got, err, b, b.ETag())
		}
		coded, err := json.Marshal(map[cqrs.Basis]cqrs.Basis{b: b})
		var back map[cqrs.Basis]cqrs.Basis
		if err := errors.Join(err, json.Unmarshal(coded, &back)); err != nil || back[b] != b || string(coded) != `{"`+text+`":"`+text+`"}` {
			t.Errorf("%s: %s %v", text, coded, err)
		}
	}
	for _, text := range []string{
		"", "-", "0", "0-", "-0", "0-x", "x-0", "00-1", "0-01", "+0-1", "0-+1", " 0-1", "0-1 ", "0--1", "0-1-2", "0_1", "0-1_0", "0x0-1", "٠-1",
		"4096-1", "65536-1", "0-18446744073709551616", `"0-1"`, `W/"0-1"`, "0-1\x00", strings.Repeat("9", 1<<20),
	} {
		b, err := cqrs.ParseBasis(text)
		if err == nil || b != (cqrs.Basis{}) {
			t.Errorf("%.40q was read as %v", text, b)
		} else if len(err.Error()) > 200 || !strings.Contains(err.Error(), "is no basis") {
			t.Errorf("%.40q: %.300v", text, err)
		}
	}
}

// FuzzParseBasis: what is read is written back as it was.
func FuzzParseBasis(f *testing.F) {
	for _, s := range []string{"0-123", "", "4095-18446744073709551615", "00-1", "-", "1-+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := cqrs.ParseBasis(s)
		if err == nil && (b.String() != s || b.Shard < 0 || b.Shard >= 4096) || err != nil && b != (cqrs.Basis{}) {
			t.Errorf("%q was read as %+v, %v", s, b, err)
		}
	})
}

func TestWaitingForABasis(t *testing.T) {
	cfg := counterConfig()
	cfg.Shards = 3
	rt, _, _ := start(t, t.TempDir(), cfg)
	key := keyOf(rt, 2)
	coming := cqrs.Basis{Shard: 2, T: 2}
	type result struct {
		view cqrs.View
		err  error
	}
	results := make(chan result, 2)
	for _, wait := range []func(context.Context, cqrs.Basis) (cqrs.View, error){rt.At, rt.AtLeast} {
		go func() { v, err := wait(patience(t), coming); results <- result{v, err} }()
	}
	for range 2 {
		out := mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithKey(key))
		if out.Basis() != (cqrs.Basis{Shard: 2, T: out.T}) {
			t.Errorf("basis %v", out.Basis())
		}
	}
	for range 2 {
		if r := <-results; r.err != nil || r.view.Basis() != coming || value(t, r.view, "a") != 2 {
			t.Errorf("%v %v", r.view.Basis(), r.err)
		}
	}
	mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithKey(key))
	if v, err := rt.At(patience(t), coming); err != nil || v.Basis() != coming || value(t, v, "a") != 2 {
		t.Errorf("at: %v %v", v.Basis(), err)
	}
	if v, err := rt.AtLeast(patience(t), coming); err != nil || v.T() != 3 || value(t, v, "a") != 3 {
		t.Errorf("at least: %v %v", v.Basis(), err)
	}
	if (cqrs.View{}).Basis() != (cqrs.Basis{}) {
		t.Error("the basis of a View of nobody")
	}
}

func keyOf(rt *cqrs.Runtime, shard int) string {
	for key := "k"; ; key += "k" {
		if rt.ShardOf(key) == shard {
			return key
		}
	}
}

func TestABasisThatIsNotThere(t *testing.T) {
	rt, _, stop := start(t, t.TempDir(), counterConfig())
	for _, shard := range []int{-1, 1, math.MaxInt} {
		_, err := rt.AtLeast(t.Context(), cqrs.Basis{Shard: shard})
		_, err2 := rt.At(t.Context(), cqrs.Basis{Shard: shard})
		if err == nil || err2 == nil || !strings.Contains(err.Error(), "there are 1") {
			t.Errorf("shard %d: %v, %v", shard, err, err2)
		}
	}
	far := cqrs.Basis{T: math.MaxUint64}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := rt.At(ctx, far); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	stop()
	if _, err := rt.AtLeast(t.Context(), far); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
