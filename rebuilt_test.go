package cqrs

import (
	"log/slog"
	"path/filepath"
	"testing"

	boltstore "github.com/cqrs-server/cqrs/store/bolt"
	"go.etcd.io/bbolt"
)

// A replica that was passing, in the log, what it has from the store, and skips a piece of the log, does not know the digest at its place any more: a
// refusal that comes next counts.
func TestRefusalBehindASkippedPieceOfTheLog(t *testing.T) {
	archive, err := boltstore.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	rt, err := open(t.TempDir(), Config{Store: archive, NoSync: true, Log: slog.New(slog.DiscardHandler)}, &stepping{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	s, at := rt.shards[0], Digest{1}
	if err := s.setState(t.Context(), rebuiltName, (&rebuilt{last: 3, t: 2, digest: at}).encode()); err != nil {
		t.Fatal(err)
	}
	counts := func(prev Digest) bool {
		t.Helper()
		if err := s.batch.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.batch.rollback()
		return s.batch.validRefusal(&refusal{prev: prev})
	}
	if !counts(at) || counts(Digest{2}) {
		t.Error("a refusal is not judged by the digest at its place")
	}
	err = s.file.Update(t.Context(), func(tx *bbolt.Tx) error { return lostPlace(tx.Bucket(s.agg().stateName)) })
	if err != nil {
		t.Fatal(err)
	}
	if !counts(Digest{2}) {
		t.Error("behind a skipped piece, a refusal does not count")
	}
}
