package cqrs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Invariant 25, of what lies in files, in the log, and of what a program gives at the start.

func FuzzPosition(f *testing.F) {
	p := position{t: 7, offset: -1, delivered: 6, failed: 1, latest: -5, horizon: 3, digest: Digest{1}}
	f.Add(p.encode())
	f.Add([]byte{})
	f.Add(make([]byte, positionSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p position // a shorter form was written once
		if p.decode(b) == nil && !bytes.HasPrefix(p.encode(), b) {
			t.Errorf("%x became %x", b, p.encode())
		}
	})
}

func FuzzLogEntry(f *testing.F) {
	r := store.Record{Envelope: store.Envelope{Command: uuid.Max, CommandType: "a"}, Prev: make([]byte, 32)}
	f.Add(commitMessage(&Commit{Record: r, bytes: r.Append(nil)}, 0).Value)
	f.Add(commitMessage(&Commit{Record: r, bytes: r.Append(nil)}, 7).Value)
	f.Add((&refusal{command: uuid.Max, err: Reject("no").encode()}).message().Value)
	f.Add([]byte{logMagic, logVersion, logRefusal, 1})
	f.Add([]byte{logMagic, logVersion + 1, logCommit})
	f.Fuzz(func(t *testing.T, b []byte) {
		e := readEntry(&queue.Message{Value: b})
		switch {
		case e.fault != nil:
			if e.fault.Error() == "" || e.commit != nil {
				t.Errorf("%x: %+v", b, e)
			}
		case e.refusal != nil:
			if !bytes.Equal(e.refusal.message().Value, b) {
				t.Errorf("the refusal %x was read as %+v", b, e.refusal)
			}
			_ = decodeError(e.refusal.err).Error()
		case e.commit.knows == 0 && b[2] == logCommit && !bytes.Equal(e.commit.Append(nil), b[logHead:]),
			b[2] == logLate && !bytes.Equal(e.commit.Append(nil), b[logHead+8:]):
			t.Errorf("the commit %x was read as %+v", b, e.commit.Record)
		}
	})
}

// chunkOf writes versions as flushHistory does.
func chunkOf(rows ...oldRow) []byte {
	var p pendingRows
	for _, o := range rows {
		p.rows = append(p.rows, pendingRow{len(p.bytes), len(o.key), len(o.value)})
		p.bytes = append(append(p.bytes, o.key...), o.value...)
	}
	return p.appendChunk(nil, 0, len(rows))
}

// rowsOf reads a chunk.
func rowsOf(chunk []byte) (rows []oldRow, err error) {
	for len(chunk) > 0 {
		var o oldRow
		if o, chunk, err = nextOld(chunk); err != nil {
			return nil, err
		}
		rows = append(rows, o)
	}
	return rows, nil
}

func FuzzHistory(f *testing.F) {
	one := chunkOf(oldRow{key: historyKey(nil, 5, 1, []byte("k")), value: []byte{wasThere, 'v'}})
	f.Add(one)
	f.Add(append(bytes.Clone(one), one...))
	f.Add(one[:len(one)-1])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := rowsOf(b)
		if err != nil {
			if !errors.Is(err, errVersion) {
				t.Error(err)
			}
			return
		}
		for _, o := range rows {
			_ = o.t()
		}
		again := chunkOf(rows...)
		if back, err := rowsOf(again); err != nil || len(back) != len(rows) {
			t.Errorf("%x was read as %d rows, and is %x (%v)", b, len(rows), again, err)
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add(Reject("no %d", 1).With("n", 1).Tagged("t").encode())
	for _, s := range []string{"", "null", "[]", `{"level":"what"}`, `{"level":"user"}`, `{"level":7}`, `{"data":{"a":{}}}`, "\xff{"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := decodeError(b)
		if e == nil || e.Error() == "" {
			t.Fatalf("%q is no error", b)
		}
		again := decodeError(e.encode())
		if again.Level != e.Level || again.Tag != e.Tag {
			t.Errorf("%q: %v became %v", b, e, again)
		}
	})
}

// fuzzNamed has any name as its type.
type fuzzNamed struct{ Name string }

func (n fuzzNamed) CommandType() string                                        { return n.Name }
func (n fuzzNamed) EventType() string                                          { return n.Name }
func (n fuzzNamed) ProcessCommand(context.Context, *Decision) ([]Event, error) { return nil, nil }

// A Config with anything in it opens, or gives an error.
func FuzzConfig(f *testing.F) {
	f.Add("a/b", "v1", "n", 1, 1, 1, 1, int64(0), uint8(0), uint8(0))
	f.Add("", "", "", 0, 0, 0, 0, int64(0), uint8(0), uint8(0xff))
	f.Add("cqrs/refold", "../x", "a@b", -1, -1, -1, -1, int64(-1), uint8(9), uint8(1))
	f.Add("a\x00b", "\x00", "\xff", 1<<40, 1<<40, 1<<40, 1<<40, int64(1)<<62, uint8(2), uint8(2))
	f.Add("x", "y", "z", 3, 1, 8<<20, 1, int64(1), uint8(1), uint8(0xfc))
	f.Fuzz(func(t *testing.T, typ, version, name string, shards, batch, size, flight int, long int64, consistency, holes uint8) {
		if shards > 3 && shards <= 4096 {
			shards %= 4 // as good, and quicker
		}
		c := Config{Shards: shards, Batch: batch, MaxCommand: size, MaxInFlight: flight, Version: version, Code: name, Consistency: Consistency(consistency & 15), Role: Role(consistency >> 4),
			KeepHistory: uint64(long), KeepFor: time.Duration(long), Retention: time.Duration(long), LockTimeout: time.Duration(min(long, 1e9)),
			NoSync: true, Log: slog.New(slog.DiscardHandler)}
		c.Commands, c.Events = []Command{fuzzNamed{typ}}, []Event{fuzzNamed{typ}}
		c.Aggregates = []Aggregate{{Name: name, Version: version, Aggregator: ignore{}}}
		for bit, spoil := range []func(){
			func() { c.Commands = append(c.Commands, nil) },
			func() { c.Events = append(c.Events, nil, fuzzNamed{typ}) },
			func() { c.Tables = []AnyTable{nil} },
			func() { c.Tables = []AnyTable{NewTable(name, func(r fuzzNamed) string { return r.Name })} },
			func() { c.Aggregates[0].Aggregator = nil },
			func() { c.Aggregates[0].Tables = []AnyTable{nil} },
			func() { c.Commands = append(c.Commands, (*fuzzNamed)(nil)) },
			func() { c.Plan = nil; c.Now = nil; c.NewID = nil },
		} {
			if holes>>bit&1 == 1 {
				spoil()
			}
		}
		rt, err := Open(filepath.Join(t.TempDir(), "data"), c)
		if err != nil {
			return
		}
		if _, err := rt.Submit(t.Context(), Envelope{Type: typ, Key: name, Data: []byte("{}")}); err == nil && typ == "" {
			t.Error("a command without a type was taken")
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is given to Restore makes a folder that opens, or an error and no folder.
func FuzzRestore(f *testing.F) {
	rt, err := Open(f.TempDir(), Config{NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	defer rt.Close()
	var b bytes.Buffer
	if err := rt.Snapshot(f.Context(), &b); err != nil {
		f.Fatal(err)
	}
	whole := b.Bytes()
	f.Add(whole)
	f.Add(whole[:600])
	f.Add(whole[:len(whole)-1500])
	f.Add(whole[512:])
	f.Add([]byte("x"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := Restore(t.Context(), dir, bytes.NewReader(b)); err != nil {
			if _, err := os.Stat(dir); err == nil {
				t.Error("it failed, and made the folder")
			}
			return
		}
		again, err := Open(dir, Config{NoSync: true})
		if err != nil {
			t.Fatalf("it was restored, and does not open: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}
