package cqrs

import (
	"crypto/sha256"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// End is how the marks say that a command ended: at a t, or refused.
func End(t *testing.T, rt *Runtime, id uuid.UUID) (at uint64, refused bool) {
	t.Helper()
	m, found, err := rt.shards[0].agg().ended(id)
	if err != nil {
		t.Fatal(err)
	}
	return m.t, found && m.t == 0
}

// FailedFolds are the events that the first shard's aggregate says it lacks: their t and index.
func FailedFolds(t *testing.T, rt *Runtime) map[[2]uint64]bool {
	t.Helper()
	a, failed := rt.shards[0].agg(), map[[2]uint64]bool{}
	err := a.file.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(a.failedName).ForEach(func(k, _ []byte) error {
			failed[[2]uint64{binary.BigEndian.Uint64(k), uint64(binary.BigEndian.Uint32(k[8:]))}] = true
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return failed
}

// Commits counts the write transactions that the first shard's file has ever seen.
func Commits(t *testing.T, rt *Runtime) (n int) {
	t.Helper()
	if err := rt.files[0].View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// FailCommits has commit called in place of bbolt's on the first shard's file.
func FailCommits(rt *Runtime, commit func(*bbolt.Tx) error) { rt.files[0].CommitBy(commit) }

// CommandBounds are the bounds of the first shard's command queue, and FeedbackBounds those of its feedback.
func CommandBounds(t *testing.T, rt *Runtime) (start, end int64) {
	return bounds(t, rt, topicCommands)
}

// FeedbackBounds are the bounds of the first shard's feedback queue.
func FeedbackBounds(t *testing.T, rt *Runtime) (start, end int64) {
	return bounds(t, rt, topicFeedback)
}

func bounds(t *testing.T, rt *Runtime, topic string) (start, end int64) {
	t.Helper()
	start, end, err := rt.queue.Bounds(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	return start, end
}

// AppendDead puts a message among the dead letters, as it is.
func AppendDead(t *testing.T, rt *Runtime, value []byte) {
	t.Helper()
	if err := rt.queue.Append(t.Context(), topicDead, 0, []queue.Message{{Value: value}}); err != nil {
		t.Fatal(err)
	}
}

// DigestOf is the running digest, reckoned anew from records.
func DigestOf(records []store.Record) (d Digest) {
	for i := range records {
		d = sha256.Sum256(records[i].Append(d[:]))
	}
	return d
}

// LetterOf is the form in which an error is kept among the dead letters.
func LetterOf(e *Error, value []byte) []byte {
	e.origin = &command{message: queue.Message{Value: value}}
	return encodeLetter(e, 1<<20)
}

// Versions counts the versions of the first shard's own aggregate that its file holds something of.
func Versions(t *testing.T, rt *Runtime) int {
	t.Helper()
	found := map[string]bool{}
	err := rt.files[0].View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if rest, ok := strings.CutPrefix(string(name), "aggregate/main@"); ok {
				version, _, _ := strings.Cut(rest, "/")
				found[version] = true
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// RepeatDead appends all dead letters once more.
func RepeatDead(t *testing.T, rt *Runtime) {
	t.Helper()
	_, end := bounds(t, rt, topicDead)
	msgs, err := rt.queue.Read(t.Context(), topicDead, 0, 0, int(end))
	if err == nil {
		err = rt.queue.Append(t.Context(), topicDead, 0, msgs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// VersionIn is the version that a data folder was left with.
func VersionIn(t *testing.T, dir string) string {
	t.Helper()
	file, err := boltfile.Open(filepath.Join(dir, shardFile(0)), boltfile.Options{Kind: "cqrs-shard"})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	version, _, err := currentVersion(file)
	if err != nil {
		t.Fatal(err)
	}
	return version
}
