package cqrs

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs/queue"
	"go.etcd.io/bbolt"
)

// MaxHeld is how many rows of a table a transaction holds.
const MaxHeld = maxHeld

// AppendRaw puts a message into the command queue as another program might.
func AppendRaw(t *testing.T, rt *Runtime, value []byte) {
	t.Helper()
	if err := rt.queue.Append(t.Context(), topicCommands, 0, []queue.Message{{Value: value}}); err != nil {
		t.Fatal(err)
	}
}

// HistoryBytes is about how large the history of the first shard is.
func (rt *Runtime) HistoryBytes(t *testing.T) (n int) {
	t.Helper()
	a := rt.shards[0].agg()
	err := a.file.View(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{a.historyName, a.groupsName} {
			if err := tx.Bucket(name).ForEach(func(k, v []byte) error { n += len(k) + len(v); return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// LoseTakeOver has the commit with which that version takes over end in a way that can't be learned; it takes place or not.
func LoseTakeOver(t *testing.T, rt *Runtime, version string, took bool) *atomic.Bool {
	t.Helper()
	lost, done, again := errors.New("the disk is gone"), new(atomic.Bool), false
	rt.files[0].CommitBy(func(tx *bbolt.Tx) error {
		switch v, _ := currentVersionIn(tx); {
		case again: // what is written to confirm
			again = false
			return errors.Join(lost, tx.Rollback())
		case v != version || done.Load():
			return tx.Commit()
		}
		done.Store(true)
		if !took {
			return errors.Join(lost, tx.Rollback())
		}
		again = true
		return errors.Join(lost, tx.Commit())
	})
	return done
}
