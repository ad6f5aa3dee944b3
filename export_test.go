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
func AppendRaw(t *testing.T, rt *Runtime, value []byte, headers ...queue.Header) {
	t.Helper()
	if err := rt.queue.Append(t.Context(), topicCommands, 0, []queue.Message{{Value: value, Headers: headers}}); err != nil {
		t.Fatal(err)
	}
}

// Followed is how many receipts the runtime follows.
func (rt *Runtime) Followed() int {
	rt.receipts.mu.Lock()
	defer rt.receipts.mu.Unlock()
	return len(rt.receipts.waiting)
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

// LostTakeOver is what became of a take-over whose commit ended in a way that can't be learned.
type LostTakeOver struct {
	Done  atomic.Bool // it ended so
	Wrong atomic.Bool // the old version was written although the file said that the next one serves
}

// LoseTakeOver has the commit with which a version takes over from another end so; it takes place or not.
func LoseTakeOver(t *testing.T, rt *Runtime, from, to string, took bool) *LostTakeOver {
	t.Helper()
	lost, l, confirms, left := errors.New("the disk is gone"), new(LostTakeOver), false, position{}
	old := newAggregate(rt.files[0], 0, "main", from, nil)
	rt.files[0].CommitBy(func(tx *bbolt.Tx) error {
		p, err := old.positionIn(tx)
		serving, _ := currentVersionIn(tx)
		switch {
		case err != nil:
			return err
		case confirms:
			confirms = false
			return errors.Join(lost, tx.Rollback())
		case serving != to:
			return tx.Commit()
		case l.Done.Load() && (p == left || !took):
			return tx.Commit()
		case l.Done.Load():
			l.Wrong.Store(true)
			return errors.Join(lost, tx.Rollback())
		}
		l.Done.Store(true)
		if left = p; !took {
			return errors.Join(lost, tx.Rollback())
		}
		confirms = true
		return errors.Join(lost, tx.Commit())
	})
	return l
}
