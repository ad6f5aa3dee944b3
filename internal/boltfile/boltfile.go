// Package boltfile is one bbolt file that several parts of the library write together.
//
// The queue, the store and the aggregate of a shard may live in one file. What they write in one batch then costs one
// bbolt commit. Callers that arrive alone (a Send, say) call Update; all those waiting at a time share a transaction. While a
// worker holds the file as its Host, the worker's own transactions take the waiting calls along.
//
// After a write that failed the file is opened anew and read back, so that a commit has one of three outcomes: it took
// place, it did not, or (ErrUnknown) that could not be learned.
package boltfile

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Format is the version of the file layout that this code reads and writes.
const Format = 1

var (
	// ErrLocked says that the file is open elsewhere, in another process or in this one.
	ErrLocked = errors.New("the file is locked: it is open already, in another process or in this one, which must close it first")
	// ErrDamaged says that the file is no whole bbolt file.
	ErrDamaged = errors.New("the file is damaged")
	// ErrFormat says that the file has a layout that this code does not know.
	ErrFormat = errors.New("the file has another format")
	// ErrClosed says that the file was closed.
	ErrClosed = errors.New("the file is closed")
	// ErrFull says that there was no room for a write. Nothing of it took place.
	ErrFull = errors.New("the disk is full, or the file has come to a limit: make room, and work goes on by itself")
	// ErrUnknown says that a transaction's outcome could not be read back.
	ErrUnknown = errors.New("it is not known whether the write reached the disk")
)

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	kindKey    = []byte("kind")
	idKey      = []byte("id")
	stampKey   = []byte("stamp")
)

// Options say how a file is opened.
type Options struct {
	Kind     string        // what the file is, kept inside: opening it as another kind fails
	Timeout  time.Duration // how long to wait for another process's lock. Defaults to 1 second
	NoSync   bool          // do not fsync: for tests that do not cut the power
	ReadOnly bool
}

// File is an open file. Its methods may be called from many goroutines.
type File struct {
	path string
	opts Options
	id   uuid.UUID

	writer sync.Mutex   // held by a write transaction, from Begin until its outcome is known
	swap   sync.RWMutex // held for writing while the handle is replaced
	db     *bbolt.DB    // nil from a reopening that failed until one that succeeds
	closed bool

	group    group
	reopened hooks
	commit   func(*bbolt.Tx) error // bbolt's own, which tests make fail
}

// Open opens the file at path, and makes it when it is not there.
func Open(path string, opts Options) (*File, error) {
	if opts.Timeout == 0 {
		opts.Timeout = time.Second
	}
	f := &File{path: path, opts: opts, commit: (*bbolt.Tx).Commit}
	if err := f.open(); errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("open %s: %w%s", path, err, remedy)
	} else if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

func (f *File) open() (err error) {
	if err := f.makeIfMissing(); err != nil {
		return err
	}
	if f.db, f.id, err = f.attach(); err == nil && !f.opts.ReadOnly {
		f.sweep()
	}
	return err
}

// attach opens the file that is there, and checks that it is what it should be.
func (f *File) attach() (*bbolt.DB, uuid.UUID, error) {
	if err := checkWhole(f.path); err != nil {
		return nil, uuid.Nil, err
	}
	if err := f.checkTree(); err != nil {
		return nil, uuid.Nil, err
	}
	db, err := bbolt.Open(f.path, 0o600, f.boltOptions())
	if err != nil {
		return nil, uuid.Nil, explain(err)
	}
	var id uuid.UUID
	if err := db.View(func(tx *bbolt.Tx) error { id, err = f.readMeta(tx); return err }); err != nil {
		return nil, uuid.Nil, errors.Join(err, db.Close())
	}
	return db, id, nil
}

func (f *File) boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:         f.opts.Timeout,
		FreelistType:    bbolt.FreelistMapType,
		NoFreelistSync:  true,
		NoSync:          f.opts.NoSync,
		NoGrowSync:      f.opts.NoSync,
		ReadOnly:        f.opts.ReadOnly,
		InitialMmapSize: initialMmapSize,
		NoStatistics:    true,
	}
}

// explain gives bbolt's errors the names that callers test for.
func explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// explainWrite says so when there was no room. bbolt gives the reason why a file can't grow as text only.
func explainWrite(err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), ": "+full.Error()) {
			return fmt.Errorf("%w (%w)", ErrFull, err)
		}
	}
	return err
}

func (f *File) readMeta(tx *bbolt.Tx) (id uuid.UUID, err error) {
	b := tx.Bucket(metaBucket)
	if b == nil {
		return id, fmt.Errorf("%w: it was not written by this library", ErrFormat)
	}
	if v := b.Get(formatKey); len(v) != 1 || v[0] != Format {
		return id, fmt.Errorf("%w: it has format version %v, and this code reads version %d", ErrFormat, v, Format)
	}
	if kind := b.Get(kindKey); string(kind) != f.opts.Kind {
		return id, fmt.Errorf("%w: it is a %q file, not a %q file", ErrFormat, kind, f.opts.Kind)
	}
	if copy(id[:], b.Get(idKey)) != len(id) {
		return id, fmt.Errorf("%w: its id is missing", ErrFormat)
	}
	return id, nil
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// ID is made with the file and stays with it.
func (f *File) ID() uuid.UUID { return f.id }

// View calls fn with a read transaction. fn must not wait for anything and must copy what it keeps.
func (f *File) View(fn func(*bbolt.Tx) error) error {
	return f.withHandle(func(db *bbolt.DB) (err error) {
		defer f.Guard(&err, debug.SetPanicOnFault(true))
		return db.View(fn)
	})
}

// Size is the file's length in bytes.
func (f *File) Size() (n int64) {
	_ = f.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n
}

// Close waits for the transactions under way and closes the file. A second Close does nothing.
func (f *File) Close() error {
	f.group.close()
	f.writer.Lock()
	defer f.writer.Unlock()
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.db == nil {
		return nil
	}
	return f.db.Close()
}

// withHandle calls fn with the handle, which stays open meanwhile.
func (f *File) withHandle(fn func(*bbolt.DB) error) error {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.db == nil && !f.closed {
		f.swap.RUnlock()
		err := f.openAgain()
		f.swap.RLock()
		if err != nil {
			return err
		}
	}
	if f.closed || f.db == nil {
		return ErrClosed
	}
	return fn(f.db)
}

// openAgain tries again what failed in reopen.
func (f *File) openAgain() error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.closed || f.db != nil {
		return nil
	}
	return f.reopen()
}

// reopen opens the file anew. It never makes the file: one that is gone, or another one in its place, is an error.
// The swap lock is held.
func (f *File) reopen() error {
	if f.db != nil {
		_ = f.db.Close()
		f.db = nil
	}
	db, id, err := f.attach()
	if err != nil {
		return fmt.Errorf("open %s again after a write that failed: %w", f.path, err)
	}
	if id != f.id {
		return errors.Join(fmt.Errorf("open %s again after a write that failed: %w: another file took its place", f.path, ErrFormat), db.Close())
	}
	f.db = db
	return nil
}
