package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/powercut"
)

func init() { children["power-work"] = func(t *testing.T, dir string) { powerWork(t, dir) } }

const noSyncEnv = "CQRS_TEST_NOSYNC"

// powerConfig is the program that the power is cut under: it prunes, trims, and has an aggregate beside the main one.
func powerConfig(version string) cqrs.Config {
	cfg := counterConfig()
	cfg.Version, cfg.KeepHistory, cfg.Retention, cfg.Batch = version, 40, time.Minute, 16
	cfg.NoSync = os.Getenv(noSyncEnv) != ""
	cfg.Aggregates = []cqrs.Aggregate{{Name: "twin", Aggregator: counting{}, Tables: []cqrs.AnyTable{counters}}}
	var mu sync.Mutex
	now := time.UnixMilli(1_700_000_000_000)
	cfg.Now = func() time.Time { // a minute goes by between two batches, so that the queues are trimmed
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(5 * time.Second)
		return now
	}
	return cfg
}

// powerData is where the folder of the work is: its parents are made, too.
func powerData(dir string) string { return filepath.Join(dir, "some", "where") }

func powerBackup(dir string) string { return filepath.Join(dir, "back", "up") }

// powerWork does all that changes files: making the folder, sending, dead letters and their resending, building another version, compaction, a
// snapshot, restoring. It says in dir/notes what the library has promised, each time after it has.
func powerWork(t *testing.T, dir string) {
	notes := openNotes(t, filepath.Join(dir, powercut.NotesName))
	say := func(format string, args ...any) error {
		_, err := fmt.Fprintf(notes.file, format+"\n", args...) // one write
		return err
	}
	rt, _, stop := start(t, powerData(dir), powerConfig("1"))
	powerSend(t, rt, say, 6, 8)
	stop()
	rt, _, stop = start(t, powerData(dir), powerConfig("2"))
	powerSend(t, rt, say, 3, 5)
	powerResend(t, rt, say)
	if err := rt.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	powerSend(t, rt, say, 4, 4)
	powerRestore(t, rt, say, dir)
	powerSend(t, rt, say, 1, 5)
	stop()
}

// powerWorkInside is the work on one file, in this process.
func powerWorkInside(t *testing.T, dir string, watch *powercut.Watcher) {
	say := func(format string, args ...any) error {
		watch.Note(fmt.Sprintf(format, args...))
		return nil
	}
	for _, version := range []string{"1", "2"} {
		rt, _, stop := start(t, powerData(dir), powerConfig(version))
		cqrs.FailCommits(rt, watch.Commit)
		powerSend(t, rt, say, 5, 8)
		powerResend(t, rt, say)
		stop()
	}
}

// promise notes what the library has promised.
type promise func(format string, args ...any) error

func powerSend(t *testing.T, rt *cqrs.Runtime, say promise, senders, each int) {
	t.Helper()
	modes := []string{"", "reject", "", "many", "panic", "fold-error", "nothing", ""}
	errs := make(chan error, senders)
	for g := range senders {
		go func() {
			var err error
			for i := 0; i < each && err == nil; i++ {
				err = powerSendOne(t.Context(), rt, say, add{Name: fmt.Sprint("n", (g+i)%5), By: i%3 + 1, Mode: modes[(g+i)%len(modes)]}, i%4 > 0)
			}
			errs <- err
		}()
	}
	for range senders {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func powerSendOne(ctx context.Context, rt *cqrs.Runtime, say promise, c add, wait bool) error {
	r, err := rt.Send(ctx, c)
	if err == nil {
		err = say("sent %s", r.ID)
	}
	if err != nil || !wait {
		return err
	}
	out, err := r.Wait(ctx)
	if e, ok := errors.AsType[*cqrs.Error](err); ok {
		return say("%s %s", e.Level, r.ID)
	}
	if err != nil {
		return err
	}
	return say("accepted %s %d", r.ID, out.T)
}

func powerResend(t *testing.T, rt *cqrs.Runtime, say promise) {
	t.Helper()
	letters, err := rt.DeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range letters {
		id, send := l.Err.Command, rt.Resend
		if i%3 == 2 && l.Fold {
			send = rt.Discard
		}
		if err := errors.Join(say("resend %s", id), send(t.Context(), l), say("resent %s", id)); err != nil {
			t.Fatal(err)
		}
	}
}

// powerRestore makes another folder of a snapshot.
func powerRestore(t *testing.T, rt *cqrs.Runtime, say promise, dir string) {
	t.Helper()
	archive, err := os.Create(filepath.Join(dir, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := rt.Snapshot(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if err := cqrs.Restore(t.Context(), powerBackup(dir), archive); err != nil {
		t.Fatal(err)
	}
	if err := say("restored"); err != nil {
		t.Fatal(err)
	}
}
