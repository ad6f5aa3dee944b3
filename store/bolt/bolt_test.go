package bolt

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

func record(shard int, t uint64, kinds ...string) store.Record {
	command, err := uuid.NewV7()
	if err != nil {
		panic(err)
	}
	r := store.Record{Envelope: store.Envelope{Shard: shard, T: t, Command: command, Time: int64(t)}}
	for i, kind := range kinds {
		r.Events = append(r.Events, store.Event{ID: ids.Event(command, i, "1"), Index: i, Segment: "1", Type: kind, Data: []byte("data")})
	}
	return r
}

func all[T any](t *testing.T, seq iter.Seq2[T, error]) (got []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	return got
}

// within runs fn in a transaction of f.
func within(t *testing.T, f *boltfile.File, fn func(*bbolt.Tx) error) {
	t.Helper()
	if err := f.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestShardsInTheirFiles(t *testing.T) {
	a, b := openFile(t), openFile(t)
	s := On(a, b, a)
	var rs []store.Record
	for i := range uint64(30) {
		rs = append(rs, record(int(i%3), i/3+1, []string{"x", "y"}[i%2]))
		rs[i].Time = int64(i)
	}
	if err := s.Put(t.Context(), rs); err != nil {
		t.Fatal(err)
	}
	for shard := range 3 {
		if got := all(t, s.Log(t.Context(), shard, 1)); len(got) != 10 || got[9].Command != rs[27+shard].Command {
			t.Errorf("the log of shard %d has %d records", shard, len(got))
		}
	}
	for i, e := range all(t, s.Query(t.Context(), store.Query{})) {
		if e.ID != rs[i].Events[0].ID {
			t.Errorf("entry %d of the query has t %d of shard %d", i, e.T, e.Shard)
		}
	}
	if got := all(t, s.Query(t.Context(), store.Query{Type: "y", Limit: 4})); len(got) != 4 || got[3].ID != rs[7].Events[0].ID {
		t.Errorf("the query with a limit gave %d", len(got))
	}
	for i := range rs {
		if _, err := s.Event(t.Context(), rs[i].Events[0].ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Commit(t.Context(), rs[i].Command); err != nil {
			t.Error(err)
		}
	}
	within(t, b, func(tx *bbolt.Tx) error {
		for shard, want := range []uint64{0, 10, 0} {
			if last, err := lastIn(tx, shard); last != want || err != nil {
				t.Errorf("the second file has t %d of shard %d, %v; want %d", last, shard, err, want)
			}
		}
		return nil
	})
}

func TestConflictsInTwoFiles(t *testing.T) {
	s := On(openFile(t), openFile(t))
	a, b := record(0, 1, "x"), record(1, 1, "x")
	if err := s.Put(t.Context(), []store.Record{a, b}); err != nil {
		t.Fatal(err)
	}
	a.Key, b.Key = "other", "other"
	err := s.Put(t.Context(), []store.Record{a, b, record(1, 2, "x")})
	for _, r := range []store.Record{a, b} {
		if !strings.Contains(err.Error(), r.Command.String()) {
			t.Errorf("%v does not name command %s", err, r.Command)
		}
	}
	if last, err := s.Last(t.Context(), 1); last != 2 || err != nil {
		t.Errorf("Last is %d, %v; want 2", last, err)
	}
}

func TestShardWithoutFile(t *testing.T) {
	s := On(openFile(t))
	for _, shard := range []int{-1, 1, 1 << 40} {
		if err := s.Put(t.Context(), []store.Record{record(shard, 1, "x")}); err == nil {
			t.Errorf("shard %d: Put took a record", shard)
		}
		if _, err := s.Last(t.Context(), shard); err == nil {
			t.Errorf("shard %d: Last answered", shard)
		}
		for _, err := range s.Log(t.Context(), shard, 1) {
			if err == nil {
				t.Errorf("shard %d: Log answered", shard)
			}
		}
	}
}

func TestOwnership(t *testing.T) {
	f := openFile(t)
	s := On(f)
	if err := errors.Join(s.Put(t.Context(), []store.Record{record(0, 1, "x")}), s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	within(t, f, func(tx *bbolt.Tx) error {
		if err := s.PutTx(tx, nil, true); !errors.Is(err, store.ErrClosed) {
			t.Errorf("PutTx after Close gave %v", err)
		}
		return nil
	})
	open := On(f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Last(t.Context(), 0); !errors.Is(err, store.ErrClosed) {
		t.Errorf("on a closed file: %v, want ErrClosed", err)
	}
	if err := open.Put(t.Context(), []store.Record{record(0, 2, "x")}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("on a closed file: %v, want ErrClosed", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, boltfile.ErrLocked) {
		t.Errorf("a second Open gave %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := boltfile.Open(path, boltfile.Options{Kind: "other"}); !errors.Is(err, boltfile.ErrFormat) {
		t.Errorf("another kind: %v, want ErrFormat", err)
	}
}

// TestSamePrefix has an index that names wrong commits too, as it does when two ids begin alike.
func TestSamePrefix(t *testing.T) {
	f := openFile(t)
	s := On(f)
	rs := []store.Record{record(0, 1, "x"), record(0, 2, "x"), record(0, 3)}
	within(t, f, func(tx *bbolt.Tx) error {
		if err := addAll(tx, []uuid.UUID{rs[1].Events[0].ID}, 1); err != nil {
			return err
		}
		if err := s.PutTx(tx, rs, true); err != nil {
			return err
		}
		return addAll(tx, []uuid.UUID{rs[1].Events[0].ID}, 3)
	})
	if e, err := s.Event(t.Context(), rs[1].Events[0].ID); err != nil || e.T != 2 {
		t.Errorf("found t %d, %v; want 2", e.T, err)
	}
	near := rs[1].Events[0].ID
	near[9] ^= 1
	if _, err := s.Event(t.Context(), near); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an id that begins alike: %v, want ErrNotFound", err)
	}
}

func TestTypesOfAnyLength(t *testing.T) {
	s := On(openFile(t))
	kinds := []string{"", "\x00", strings.Repeat("a", longestType), strings.Repeat("a", longestType+1), strings.Repeat("b", 50_000)}
	r := record(0, 1, kinds...)
	if err := s.Put(t.Context(), []store.Record{r}); err != nil {
		t.Fatal(err)
	}
	for i, kind := range kinds[1:] {
		if got := all(t, s.Query(t.Context(), store.Query{Type: kind})); len(got) != 1 || got[0].ID != r.Events[i+1].ID {
			t.Errorf("a type of %d bytes: got %d events", len(kind), len(got))
		}
	}
	if got := all(t, s.Query(t.Context(), store.Query{})); len(got) != len(kinds) {
		t.Errorf("all types: got %d events, want %d", len(got), len(kinds))
	}
}

// TestDamage breaks the log behind the indexes.
func TestDamage(t *testing.T) {
	for name, data := range map[string][]byte{"missing": nil, "cut off": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			f := openFile(t)
			s := On(f)
			r := record(0, 1, "x")
			for _, r := range []store.Record{r, record(0, 2, "x")} { // each a chunk of its own
				if err := s.Put(t.Context(), []store.Record{r}); err != nil {
					t.Fatal(err)
				}
			}
			within(t, f, func(tx *bbolt.Tx) error { return breakLog(tx, data) })
			damaged(t, s, r)
		})
	}
}

func breakLog(tx *bbolt.Tx, data []byte) error {
	key := logKey(0, 1)
	if data == nil {
		return tx.Bucket(logBucket).Delete(key[:])
	}
	return tx.Bucket(logBucket).Put(key[:], data)
}

func damaged(t *testing.T, s *Store, r store.Record) {
	_, event := s.Event(t.Context(), r.Events[0].ID)
	_, commit := s.Commit(t.Context(), r.Command)
	errs := map[string]error{"Event": event, "Commit": commit, "Put": s.Put(t.Context(), []store.Record{r})}
	for _, err := range s.Query(t.Context(), store.Query{}) {
		errs["Query"] = err
	}
	for _, err := range s.Log(t.Context(), 0, 1) {
		errs["Log"] = err
	}
	for name, err := range errs {
		if err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s gave %v, want an error that tells of the damage", name, err)
		}
	}
}

// TestNoReadTransactionIsHeld closes the file in the middle of a loop, which waits for open transactions.
func TestNoReadTransactionIsHeld(t *testing.T) {
	for name, seq := range map[string]func(*Store) iter.Seq[error]{
		"Log":   func(s *Store) iter.Seq[error] { return errorsOf(s.Log(t.Context(), 0, 1)) },
		"Query": func(s *Store) iter.Seq[error] { return errorsOf(s.Query(t.Context(), store.Query{})) },
	} {
		f := openFile(t)
		s := On(f)
		if err := s.Put(t.Context(), []store.Record{record(0, 1, "x")}); err != nil {
			t.Fatal(err)
		}
		for range seq(s) {
			closed := make(chan error, 1)
			go func() { closed <- f.Close() }()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s holds a read transaction while the loop runs", name)
			}
		}
	}
}

func errorsOf[T any](seq iter.Seq2[T, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		for _, err := range seq {
			if !yield(err) {
				return
			}
		}
	}
}

// TestLogStopsAtOnce ends the context in the middle of a page.
func TestLogStopsAtOnce(t *testing.T) {
	s := On(openFile(t))
	if err := s.Put(t.Context(), []store.Record{record(0, 1, "x"), record(0, 2, "x")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []error
	for _, err := range s.Log(ctx, 0, 1) {
		seen = append(seen, err)
		cancel()
	}
	if len(seen) != 2 || seen[0] != nil || !errors.Is(seen[1], context.Canceled) {
		t.Errorf("got %v, want a record and then the context's error", seen)
	}
}
