package cqrs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
)

// A file in which bytes were changed gives an error that names it, or is read as it is: no panic, no wait without end.

const damagedPage = 4096

// wholeFolder gives the bytes of a shard's file with tables, indexes, history, refusals and dead letters, and what its tables hold.
func wholeFolder(t *testing.T) (whole []byte, rows string) {
	t.Helper()
	dir := t.TempDir()
	rt, _, stop := start(t, dir, damageConfig())
	fill(t, rt, 150)
	var many []add
	for i := range 120 {
		many = append(many, add{Name: fmt.Sprint("n", i%40), Mode: "many", By: i % 5})
	}
	for _, r := range sendAll(t, rt, many...) {
		if _, err := r.Wait(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"reject", "panic", "fold-error"} {
		_, _ = do(t, rt, add{Name: "x", Mode: mode})
	}
	if err := rt.Compact(patience(t)); err != nil { // so that few pages are free
		t.Fatal(err)
	}
	mustDo(t, rt, add{Name: "x", By: 1})
	rows = readAll(t, rt)
	stop()
	whole, err := os.ReadFile(filepath.Join(dir, "shard-0.db"))
	if err != nil {
		t.Fatal(err)
	}
	last := max(binary.NativeEndian.Uint64(whole[56:]), binary.NativeEndian.Uint64(whole[damagedPage+56:])) // of the meta pages
	return whole[:last*damagedPage], rows
}

func damageConfig() cqrs.Config {
	cfg := counterConfig()
	cfg.LockTimeout, cfg.Log = 2*time.Second, new(retries).log()
	return cfg
}

// readAll reads all that there is, and gives the newest rows as text. An error must be one that was meant.
func readAll(t *testing.T, rt *cqrs.Runtime) string {
	t.Helper()
	var b strings.Builder
	ok := func(what string, err error) {
		if err != nil {
			fmt.Fprintln(&b, what, "error")
			meant(t, err)
		}
	}
	for c, err := range counters.All(rt.View()) {
		ok("all", err)
		fmt.Fprintln(&b, c)
		for v, err := range counters.History(rt.View(), c.Name) {
			_ = v
			ok("history", err)
		}
	}
	for _, at := range []uint64{0, 1, rt.View().T() / 2} {
		_, err := counters.Whole().Count(rt.AsOf(at))
		ok("count", err)
		for _, err := range counters.Diff(rt.AsOf(at), rt.View()) {
			ok("diff", err)
		}
	}
	for _, err := range rt.Shard(0).Log(t.Context(), 1, rt.View().T()) {
		ok("log", err)
	}
	for _, err := range rt.Events(t.Context(), store.Query{Type: "counter/added"}) {
		ok("events", err)
	}
	_, err := rt.DeadLetters(t.Context())
	ok("dead letters", err)
	rt.Health()
	return b.String()
}

// meant fails for errors that tell of a panic that was the library's own.
func meant(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "goroutine ") {
		t.Errorf("an error with a stack: %v", err)
	}
}

// damage changes some bytes of one page.
func damage(r *rand.Rand, whole []byte) (at int) {
	page := 2 + r.IntN(len(whole)/damagedPage-2)
	at = page * damagedPage
	for range 1 + r.IntN(8) {
		n := r.IntN(damagedPage)
		if r.IntN(2) == 0 {
			n = r.IntN(256) // where the header and the elements are
		}
		whole[at+n] ^= byte(1 + r.IntN(255))
	}
	return at
}

// Invariant 25.
func TestDamagedPages(t *testing.T) {
	images := 500
	if testing.Short() {
		images = 60
	}
	whole, rows := wholeFolder(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d pages", seed, len(whole)/damagedPage)
	counts := map[string]int{}
	for i := range images {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		image := bytes.Clone(whole)
		at := damage(r, image)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "shard-0.db"), image, 0o600); err != nil {
			t.Fatal(err)
		}
		counts[openDamaged(t, dir, rows)]++
		if t.Failed() {
			t.Fatalf("image %d, page %d", i, at/damagedPage)
		}
	}
	t.Log(counts)
	if counts["refused"] < images/10 || counts["as it was"] < images/10 {
		t.Error("the damage is not what it should be")
	}
}

// openDamaged opens a folder, reads and works, and tells what became of it.
func openDamaged(t *testing.T, dir, rows string) string {
	t.Helper()
	rt, err := cqrs.Open(dir, damageConfig())
	if err != nil {
		if meant(t, err); !strings.Contains(err.Error(), filepath.Join(dir, "shard-0.db")) {
			t.Errorf("the error does not name the file: %v", err)
		}
		if !errors.Is(err, cqrs.ErrDamaged) {
			return "refused for another reason"
		}
		return "refused"
	}
	got := readAll(t, rt)
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	worked := workDamaged(t, rt)
	if err := rt.Close(); err != nil {
		meant(t, err)
	}
	if err := <-ended; err != nil {
		meant(t, err)
	}
	switch {
	case got != rows:
		return "other rows, or errors" // inside a value damage can't be seen
	case !worked:
		return "read, and does not work"
	}
	return "as it was"
}

// workDamaged sends, and waits a moment.
func workDamaged(t *testing.T, rt *cqrs.Runtime) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := rt.Send(ctx, add{Name: "a", By: 1})
	if err != nil {
		meant(t, err)
		return false
	}
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		_, err = r.Wait(short)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || rt.Health()[0].Retrying != nil {
			break
		}
	}
	if retrying := rt.Health()[0].Retrying; retrying != nil {
		meant(t, retrying)
	} else if ctx.Err() != nil {
		t.Errorf("a command neither ends nor fails: %v", err)
	}
	return err == nil
}

// Damage that comes while the file is in use, and is met by reads. (What bbolt would write over damaged pages nobody can foresee.)
func TestPagesDamagedInUse(t *testing.T) {
	images := 150
	if testing.Short() {
		images = 20
	}
	whole, rows := wholeFolder(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	counts := map[string]int{}
	for i := range images {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		dir := t.TempDir()
		path := filepath.Join(dir, "shard-0.db")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		rt, err := cqrs.Open(dir, damageConfig())
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			image := bytes.Clone(whole)
			at := damage(r, image)
			if err := writeAt(path, image[at:at+damagedPage], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		if got := readAll(t, rt); got == rows {
			counts["as it was"]++
		}
		if err := rt.Close(); err != nil {
			meant(t, err)
		}
		if t.Failed() {
			t.Fatalf("image %d", i)
		}
	}
	if t.Log(counts); counts["as it was"] > images*3/4 {
		t.Error("the damage was hardly met")
	}
}

func writeAt(path string, b []byte, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

// A panic of the program's own, inside a read, is no damage.
func TestPanicInsideARead(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 3)
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("%v", p)
		}
	}()
	for range counters.All(rt.View()) {
		panic("mine")
	}
}
