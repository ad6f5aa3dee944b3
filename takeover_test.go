package cqrs

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	boltstore "github.com/cqrs-server/cqrs/store/bolt"
	"go.etcd.io/bbolt"
)

// What is kept beside the position goes along to the version that takes over, and what is no more does not come back.
func TestTakeOverKeepsState(t *testing.T) {
	archive, err := boltstore.Open(filepath.Join(t.TempDir(), "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	cfg := Config{Version: "1", Store: archive, NoSync: true, Log: slog.New(slog.DiscardHandler)}
	dir := t.TempDir()
	rt, err := open(dir, cfg, &stepping{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Next = &Aggregate{Version: "2", Aggregator: ignore{}}
	if rt, err = open(dir, cfg, &stepping{}); err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	s, keys := rt.shards[0], [][]byte{offsetsKey, topicsKey, strayedKey, rebuiltName, knowsKey}
	for _, key := range keys {
		if err := s.setState(t.Context(), key, append([]byte("old "), key...)); err != nil {
			t.Fatal(err)
		}
	}
	old := s.agg()
	old.at.Store(&position{delivered: 7, offset: 8, anchor: anchor{9}})
	s.next.buildNow(t.Context())
	if err := s.next.changeOver(t.Context()); err != nil || s.Version() != "2" {
		t.Fatalf("version %s %v", s.Version(), err)
	}
	if p, err := s.agg().stored(); err != nil || p != *old.position() {
		t.Errorf("the position is %+v, and was %+v (%v)", p, *old.position(), err)
	}
	for _, key := range keys {
		if got, err := s.state(key); err != nil || string(got) != "old "+string(key) {
			t.Errorf("%s is %q, %v", key, got, err)
		}
	}
	err = s.file.Update(t.Context(), func(tx *bbolt.Tx) (err error) {
		for _, key := range keys {
			err = errors.Join(err, tx.Bucket(s.agg().stateName).Delete(key))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := takeOver(old, s.agg()); err != nil {
		t.Fatal(err)
	}
	s.serving.Store(old)
	for _, key := range keys {
		if got, err := s.state(key); err != nil || got != nil {
			t.Errorf("back again, %s is %q, %v", key, got, err)
		}
	}
}
