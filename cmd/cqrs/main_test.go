package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
)

type note struct{ Text string }

func (note) CommandType() string { return "note/keep" }

func (c note) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{kept(c)}, nil
}

type kept struct{ Text string }

func (kept) EventType() string { return "note/kept" }

var notes = cqrs.NewTable("notes", func(k kept) string { return k.Text })

type book struct{}

func (book) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	return notes.Put(tx, e.(kept))
}

func config() cqrs.Config {
	return cqrs.Config{
		Commands: []cqrs.Command{note{}}, Events: []cqrs.Event{kept{}}, Aggregator: book{}, Tables: []cqrs.AnyTable{notes},
	}
}

// snapshot is that of a program that has kept a note.
func snapshot(t *testing.T) []byte {
	t.Helper()
	rt := cqrstest.Runtime(t, config())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	receipt, err := rt.Send(ctx, note{"milk"})
	if err == nil {
		_, err = receipt.Wait(ctx)
	}
	var b bytes.Buffer
	if err == nil {
		err = rt.Snapshot(ctx, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestore(t *testing.T) {
	whole := snapshot(t)
	file := filepath.Join(t.TempDir(), "snapshot.tar")
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"file": file, "standard input": "-"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := run(t.Context(), []string{"restore", from, dir}, bytes.NewReader(whole)); err != nil {
				t.Fatal(err)
			}
			rt, err := cqrs.Open(dir, config())
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			if !notes.Has(rt.View(), "milk") {
				t.Error("the note is not there")
			}
			if err := run(t.Context(), []string{"restore", file, dir}, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("over a folder that is there: %v", err)
			}
		})
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"restore"}, {"restore", "a"}, {"backup", "a", "b"}, {"restore", "a", "b", "c"}} {
		if err := run(t.Context(), args, nil); !errors.Is(err, errUsage) {
			t.Errorf("%q gives %v", args, err)
		}
	}
	if err := run(t.Context(), []string{"restore", "no such file", t.TempDir()}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there gives %v", err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := run(t.Context(), []string{"restore", "-", dir}, strings.NewReader("no snapshot")); err == nil {
		t.Error("garbage is restored")
	}
}
