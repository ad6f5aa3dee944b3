package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Tx is a write transaction that takes waiting calls of Update along. Either Commit or Rollback must be called.
type Tx struct {
	*bbolt.Tx
	file   *File
	before []byte // the stamp that the transaction found
	stamp  uuid.UUID
	calls  []*call
	ended  bool
	broken error // why it must not be committed
}

// Begin starts a write transaction. Only one runs at a time; another Begin waits.
func (f *File) Begin() (*Tx, error) {
	f.writer.Lock()
	var t *Tx
	err := f.withHandle(func(db *bbolt.DB) (err error) {
		t, err = f.begin(db)
		return err
	})
	if err != nil {
		f.writer.Unlock()
		return nil, fmt.Errorf("write %s: %w", f.path, explain(err))
	}
	return t, nil
}

func (f *File) begin(db *bbolt.DB) (t *Tx, err error) {
	tx, err := db.Begin(true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t, err = nil, errors.Join(err, tx.Rollback())
		}
	}()
	defer f.Guard(&err, debug.SetPanicOnFault(true))
	t = &Tx{Tx: tx, file: f, before: bytes.Clone(stampOf(tx)), stamp: uuid.New()}
	// The stamp tells, after a commit that failed, whether it took place all the same.
	return t, tx.Bucket(metaBucket).Put(stampKey, t.stamp[:])
}

func stampOf(tx *bbolt.Tx) []byte { return tx.Bucket(metaBucket).Get(stampKey) }

// Commit makes the transaction durable. After an error of bbolt, whose outcome is unknown, the file is opened anew and
// read back: Commit returns nil when the transaction is there, ErrUnknown (wrapped) when that can't be learned, and the error
// otherwise. Functions given to bbolt's OnCommit run only when bbolt's commit succeeds at once; see Reopened.
func (t *Tx) Commit() error {
	if t.ended {
		return berrors.ErrTxClosed
	}
	fail.Here("file: commit")
	err := t.commit()
	fail.Here("file: committed")
	t.ended = true
	t.file.writer.Unlock()
	finish(t.calls, err)
	fail.Here("file: told")
	t.calls = nil
	return err
}

func (t *Tx) commit() error {
	if t.broken != nil {
		_ = t.Tx.Rollback()
		return t.broken
	}
	err := t.commitGuarded()
	if err == nil {
		return nil
	}
	_ = t.Tx.Rollback() // after some errors bbolt leaves the transaction open
	defer t.file.reopened.call()
	return t.file.readBack(t, explainWrite(err))
}

func (t *Tx) commitGuarded() (err error) {
	defer t.file.Guard(&err, debug.SetPanicOnFault(true))
	return t.file.commit(t.Tx)
}

// CommitBy has fn called in place of bbolt's commit from now on, so that tests of those who share the file can make commits fail.
func (f *File) CommitBy(fn func(*bbolt.Tx) error) {
	f.writer.Lock()
	defer f.writer.Unlock()
	f.commit = fn
}

// Rollback undoes the transaction. The calls it took along go into the next one. After Commit it does nothing but
// return an error.
func (t *Tx) Rollback() error {
	if t.ended {
		return berrors.ErrTxClosed
	}
	err := t.Tx.Rollback()
	t.ended = true
	t.file.giveBack(t.calls)
	t.calls = nil
	t.file.writer.Unlock()
	return err
}

func (f *File) readBack(t *Tx, cause error) error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if err := f.reopen(); err != nil {
		return fmt.Errorf("write %s: %w: %w (%w)", f.path, ErrUnknown, cause, err)
	}
	var found []byte
	if err := f.db.View(func(tx *bbolt.Tx) error { found = bytes.Clone(stampOf(tx)); return nil }); err != nil {
		return fmt.Errorf("write %s: %w: %w (%w)", f.path, ErrUnknown, cause, err)
	}
	switch {
	case bytes.Equal(found, t.stamp[:]):
		return f.confirm(cause)
	case bytes.Equal(found, t.before):
		return fmt.Errorf("write %s: %w", f.path, cause)
	}
	return fmt.Errorf("write %s: %w: %w (another process has written the file since)", f.path, ErrUnknown, cause)
}

// confirm makes durable what was read back. It may have been read from the system's cache, and after a failed fsync
// that tells nothing of the disk. bbolt syncs a transaction's pages before it writes the header that shows them, so one more
// commit, which writes the other header, is enough.
func (f *File) confirm(cause error) error {
	t, err := f.begin(f.db)
	if err == nil {
		if err = f.commit(t.Tx); err == nil {
			return nil
		}
		_ = t.Tx.Rollback()
	}
	_ = f.db.Close()
	f.db = nil // opened anew by the next use
	return fmt.Errorf("write %s: %w: %w (and writing again: %w)", f.path, ErrUnknown, cause, err)
}

// Reopened calls fn whenever a commit failed and the file was read back. The commit may have taken place without
// its OnCommit functions: who waits for those looks again. fn must not wait.
func (f *File) Reopened(fn func()) (stop func()) { return f.reopened.add(fn) }

// hooks are functions to call on an occasion.
type hooks struct {
	mu  sync.Mutex
	fns map[*func()]struct{}
}

func (h *hooks) add(fn func()) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fns == nil {
		h.fns = map[*func()]struct{}{}
	}
	key := &fn
	h.fns[key] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.fns, key)
	}
}

func (h *hooks) call() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for fn := range h.fns {
		(*fn)()
	}
}
