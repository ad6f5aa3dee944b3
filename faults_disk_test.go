//go:build linux

package cqrs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

func init() {
	children["full tmpfs"] = func(t *testing.T, dir string) { fullDisk(t, filepath.Join(dir, "data"), &filler{dir: dir}) }
	children["file limit"] = func(t *testing.T, dir string) {
		signal.Ignore(syscall.SIGXFSZ)
		fullDisk(t, dir, fileLimit{filepath.Join(dir, "shard-0.db")})
	}
}

// Invariant 21, on a disk of 16 MB of its own.
func TestFullDisk(t *testing.T) {
	script := `mount -t tmpfs -o size=16m tmpfs "$1" && echo mounted && exec "$2" ` + childArgs
	dir := t.TempDir()
	out, err := asChild(exec.Command("unshare", "-Urm", "sh", "-c", script, "sh", dir, os.Args[0]), "full tmpfs", dir).CombinedOutput()
	if !bytes.Contains(out, []byte("mounted\n")) {
		t.Logf("no tmpfs can be mounted here (%v: %s); TestFileLimit stands for it", err, out)
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Invariant 21, with a limit on the size of files in a process of its own.
func TestFileLimit(t *testing.T) {
	if out, err := asChild(exec.Command(os.Args[0], childArgs), "file limit", t.TempDir()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// disk is a disk that can be made full, and then have room again.
type disk interface{ fill(full bool) error }

// filler is a file that takes what room there is.
type filler struct{ dir string }

func (f *filler) fill(full bool) error {
	path := filepath.Join(f.dir, "filler")
	if !full {
		return os.Remove(path)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

// fileLimit keeps the file from growing.
type fileLimit struct{ path string }

func (l fileLimit) fill(full bool) error {
	size := ^uint64(0)
	if full {
		info, err := os.Stat(l.path)
		if err != nil {
			return err
		}
		size = uint64(info.Size())
	}
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &r); err != nil {
		return err
	}
	r.Cur = min(size, r.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &r)
}

// ledger is what Send told of commands.
type ledger struct {
	mu             sync.Mutex
	taken, refused []uuid.UUID
	receipts       []*cqrs.Receipt
}

func (l *ledger) send(t *testing.T, rt *cqrs.Runtime, c add) error {
	id := uuid.New()
	r, err := rt.Send(context.Background(), c, cqrs.WithID(id))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.taken, l.receipts = append(l.taken, id), append(l.receipts, r)
	case errors.Is(err, cqrs.ErrUnknown):
		t.Errorf("the outcome could have been read back: %v", err)
	default:
		l.refused = append(l.refused, id)
		for _, want := range []string{id.String(), "shard-0.db", "the disk is full", "make room"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		}
	}
	return err
}

// until sends, from several goroutines, until Send ends as wanted in each.
func (l *ledger) until(t *testing.T, rt *cqrs.Runtime, size int, refused bool) {
	t.Helper()
	ctx := patience(t)
	var all sync.WaitGroup
	for g := range 6 {
		all.Go(func() {
			c := add{Name: fmt.Sprint("n", g), By: 1, Mode: strings.Repeat("x", size)}
			for (l.send(t, rt, c) != nil) != refused {
				if ctx.Err() != nil {
					t.Errorf("sending %d bytes still does not end as it should", size)
					return
				}
			}
		})
	}
	all.Wait()
}

// fullDisk: while the disk is full Send refuses, and reads go on; when there is room again work resumes by itself, and nothing is lost or done
// twice.
func fullDisk(t *testing.T, dir string, d disk) {
	cfg := counterConfig()
	cfg.NoSync = false
	rt, h, stop := start(t, dir, cfg)
	l := &ledger{}
	l.until(t, rt, 10, false)
	first := mustDo(t, rt, add{Name: "first", By: 7})
	for round := range 3 {
		h.down.Store(round == 1) // then a backlog waits while the disk is full
		if err := errors.Join(l.send(t, rt, add{Name: "down", By: 1, Mode: "down"}), d.fill(true)); err != nil {
			t.Fatal(err)
		}
		l.until(t, rt, 100_000, true)
		l.until(t, rt, 10_000, true)
		checkReads(t, rt, first)
		if err := d.fill(false); err != nil {
			t.Fatal(err)
		}
		l.until(t, rt, 1000, false)
		h.down.Store(false)
	}
	l.check(t, rt)
	stop()
	rt, _, _ = start(t, dir, cfg)
	l.receipts = nil
	l.check(t, rt)
	checkReads(t, rt, first)
}

func checkReads(t *testing.T, rt *cqrs.Runtime, first cqrs.Outcome) {
	t.Helper()
	if got := value(t, rt.AsOf(first.T), "first"); got != 7 || value(t, rt.AsOf(first.T-1), "first") != 0 {
		t.Errorf("the first counter is %d", got)
	}
	if e, err := rt.Store().Event(t.Context(), first.Events[0].ID); err != nil || e.T != first.T {
		t.Errorf("the first event: %+v %v", e, err)
	}
}

func (l *ledger) check(t *testing.T, rt *cqrs.Runtime) {
	t.Helper()
	ctx := patience(t)
	for _, r := range l.receipts {
		if out, err := r.Wait(ctx); err != nil || out.Repeat {
			t.Errorf("command %s: %+v %v", r.ID, out, err)
		}
	}
	if len(l.refused) < 12 {
		t.Errorf("only %d commands were refused", len(l.refused))
	}
	checkEnded(t, rt, l.taken)
	at := checkLog(t, rt)
	for _, id := range l.refused {
		if at[id] != 0 {
			t.Errorf("command %s was refused by Send, and is at t %d", id, at[id])
		}
	}
}
