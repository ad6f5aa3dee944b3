package bolt

import (
	"context"
	"errors"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// TestPutTxKnown checks that what is said to be new is checked all the same where the log is that far already.
func TestPutTxKnown(t *testing.T) {
	f := openFile(t)
	s := On(f)
	rs := []store.Record{record(0, 1, "x"), record(0, 2, "x"), record(0, 3, "y")}
	within(t, f, func(tx *bbolt.Tx) error { return s.PutTx(tx, rs, true) })
	other := record(0, 2, "z")
	changed := rs[0]
	changed.Key = "changed"
	within(t, f, func(tx *bbolt.Tx) error {
		err := s.PutTx(tx, []store.Record{rs[1], other, changed, record(0, 4, "x")}, true)
		if !Refused(err) {
			t.Errorf("%v is no refusal", err)
		}
		if taken, ok := errors.AsType[*TakenError](err); !ok || taken.T != 2 || taken.Stored != rs[1].Command || taken.Offered != other.Command {
			t.Errorf("got %v, want a *TakenError for t 2", err)
		}
		if conflict, ok := errors.AsType[*store.ConflictError](err); !ok || conflict.Command != rs[0].Command {
			t.Errorf("got %v, want a *store.ConflictError for the first command", err)
		}
		if last, err := s.LastTx(tx, 0); last != 4 || err != nil {
			t.Errorf("LastTx is %d, %v; want 4", last, err)
		}
		return nil
	})
	if n := len(all(t, s.Query(t.Context(), store.Query{}))); n != 4 {
		t.Errorf("the store has %d events, want 4", n)
	}
}

func TestPutTxFaults(t *testing.T) {
	f, other := openFile(t), openFile(t)
	s := On(f, other)
	within(t, f, func(tx *bbolt.Tx) error {
		for name, r := range map[string]store.Record{"of another file": record(1, 1, "x"), "with t 0": record(0, 0, "x"), "with a huge t": record(0, 1<<63, "x")} {
			if err := s.PutTx(tx, []store.Record{r}, true); err == nil || Refused(err) {
				t.Errorf("a record %s: %v", name, err)
			}
		}
		if tx.Bucket(logBucket) != nil {
			t.Error("something was written")
		}
		return nil
	})
	_ = f.View(func(tx *bbolt.Tx) error {
		if err := s.PutTx(tx, []store.Record{record(0, 1, "x")}, true); err == nil || Refused(err) {
			t.Errorf("in a read transaction: %v", err)
		}
		return nil
	})
	if Refused(nil) || Refused(context.Canceled) {
		t.Error("Refused takes what is none")
	}
}

// TestRollback puts batches, of which some are rolled back, and checks that the store holds just the others.
func TestRollback(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := openFile(t)
		s := On(f)
		var kept, lost []store.Record
		for range rapid.IntRange(1, 30).Draw(rt, "batches") {
			var rs []store.Record
			for i := range rapid.IntRange(1, 80).Draw(rt, "size") {
				rs = append(rs, record(0, uint64(len(kept)+i+1), "x", "y"))
			}
			if keep := rapid.IntRange(0, 3).Draw(rt, "kept") > 0; put(rt, s, f, rs, keep) {
				kept = append(kept, rs...)
			} else {
				lost = append(lost, rs...)
			}
		}
		expect(rt, s, kept, nil)
		expect(rt, s, lost, store.ErrNotFound)
		f.Close()
	})
}

func put(t *rapid.T, s *Store, f *boltfile.File, rs []store.Record, keep bool) bool {
	tx, err := f.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutTx(tx.Tx, rs, len(rs)%2 == 0); err != nil {
		t.Fatal(err)
	}
	end := tx.Rollback
	if keep {
		end = tx.Commit
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return keep
}

func expect(t *rapid.T, s *Store, rs []store.Record, want error) {
	for _, r := range rs {
		if _, err := s.Commit(context.Background(), r.Command); !errors.Is(err, want) {
			t.Fatalf("command %s: %v, want %v", r.Command, err, want)
		}
		for _, e := range r.Events {
			if got, err := s.Event(context.Background(), e.ID); !errors.Is(err, want) || err == nil && got.ID != e.ID {
				t.Fatalf("event %s: %v, want %v", e.ID, err, want)
			}
		}
	}
}
