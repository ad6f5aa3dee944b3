package cqrs

import (
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
