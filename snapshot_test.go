package cqrs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cqrs-server/cqrs"
)

func TestSnapshotUnderLoadIsConsistent(t *testing.T) {
	cfg := counterConfig()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 300)
	ctx, stopLoad := context.WithCancel(patience(t))
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			if r, err := rt.Send(ctx, add{Name: "b", By: 1}); err == nil {
				_, _ = r.Wait(ctx)
			}
		}
	})
	var copied bytes.Buffer
	err := rt.Snapshot(patience(t), &copied)
	stopLoad()
	load.Wait()
	if err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(t.TempDir(), "restored")
	if err := cqrs.Restore(t.Context(), dir, bytes.NewReader(copied.Bytes())); err != nil {
		t.Fatal(err)
	}
	again, _, _ := start(t, dir, cfg)
	at := again.View().T()
	if at < 300 || value(t, again.View(), "b") != value(t, rt.AsOf(at), "b") || value(t, again.View(), "a") != 300 {
		t.Errorf("at t %d: a %d, b %d", at, value(t, again.View(), "a"), value(t, again.View(), "b"))
	}
	mustDo(t, again, add{Name: "a", By: 1})
	if v, err := again.Shard(0).Aggregate("amounts").AtLeast(patience(t), again.View().T()); err != nil || amountsOf(t, v) == "" {
		t.Error(err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 3)
	var b bytes.Buffer
	if err := rt.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	file := filepath.Join(full, "x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir  string
		data []byte
		want string
	}{
		"a folder in use": {full, b.Bytes(), "is not empty"},
		"a file":          {file, b.Bytes(), file},
		"nothing":         {filepath.Join(t.TempDir(), "d"), nil, "is empty"},
		"garbage":         {filepath.Join(t.TempDir(), "d"), bytes.Repeat([]byte("x"), 2000), "no snapshot"},
		"cut off":         {filepath.Join(t.TempDir(), "d"), b.Bytes()[:b.Len()/2], "EOF"},
	} {
		err := cqrs.Restore(t.Context(), c.dir, bytes.NewReader(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(c.dir, "shard-0.db")); err == nil {
			t.Errorf("%s: something was restored", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rt.Snapshot(ctx, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("snapshot: %v", err)
	}
}

// A snapshot that was damaged on its way is refused, and does not end the process.
func TestRestoreRefusesDamage(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 200)
	var b bytes.Buffer
	if err := rt.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	const head = 512 // of the archive, for the one file
	for at := head; at < b.Len()-4096; at += b.Len()/300 + 1 {
		dir, damaged := filepath.Join(t.TempDir(), "d"), bytes.Clone(b.Bytes())
		damaged[at] ^= 0x41
		if err := cqrs.Restore(t.Context(), dir, bytes.NewReader(damaged)); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("with byte %d changed: %v", at, err)
		}
	}
}

// during calls a function at the first write.
type during struct {
	io.Writer
	do func()
}

func (d *during) Write(b []byte) (int, error) {
	if do := d.do; do != nil {
		d.do = nil
		do()
	}
	return d.Writer.Write(b)
}

// What is accepted while a snapshot is written does not bring the copy's aggregates ahead of their shard.
func TestSnapshotHoldsNoAggregateFromTheFuture(t *testing.T) {
	cfg := powerConfig("1")
	cfg.NoSync = true
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	checkTwin(t, rt)
	var b bytes.Buffer
	err := rt.Snapshot(t.Context(), &during{&b, func() {
		fill(t, rt, 3)
		checkTwin(t, rt)
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := cqrs.Restore(t.Context(), dir, &b); err != nil {
		t.Fatal(err)
	}
	again, _, _ := start(t, dir, cfg)
	for range 5 {
		mustDo(t, again, add{Name: "b", By: 1})
	}
	checkTwin(t, again)
}

func TestCompactWhileReading(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	rt, _, stop := start(t, dir, cfg)
	for range 5 {
		fill(t, rt, 500)
	}
	digest, at := rt.Shard(0).Digest()
	ctx, stopReads := context.WithCancel(patience(t))
	var reads sync.WaitGroup
	for range 4 {
		reads.Go(func() {
			for ctx.Err() == nil {
				if c, err := counters.Get(rt.AsOf(100), "a"); err != nil || c.Value != 99 {
					t.Errorf("%+v %v", c, err)
					return
				}
			}
		})
	}
	for range 3 {
		if err := rt.Compact(patience(t)); err != nil {
			t.Fatal(err)
		}
		fill(t, rt, 10)
	}
	stopReads()
	reads.Wait()
	stop()
	rt, _, _ = start(t, dir, cfg)
	if rt.View().T() != at+30 || value(t, rt.View(), "a") != 2495+27 {
		t.Errorf("t %d, a %d", rt.View().T(), value(t, rt.View(), "a"))
	}
	if d, _ := rt.Shard(0).Digest(); d == digest {
		t.Error("the digest stands still")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*compact*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
