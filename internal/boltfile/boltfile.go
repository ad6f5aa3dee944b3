// Package boltfile is one bbolt file that several parts of the library write together.
//
// The queue, the store and the aggregate of a shard may live in one file. What they write in one batch then costs one
// bbolt commit. Callers that arrive alone (a Send, say) call Update; all those waiting at a time share a transaction. While a
// worker holds the file as its Host, the worker's own transactions take the waiting calls along.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Format is the version of the file layout that this code reads and writes.
const Format = 1

var (
	// ErrLocked says that another process holds the file.
	ErrLocked = errors.New("another process holds the file")
	// ErrDamaged says that the file is no whole bbolt file.
	ErrDamaged = errors.New("the file is damaged")
	// ErrFormat says that the file has a layout that this code does not know.
	ErrFormat = errors.New("the file has another format")
	// ErrClosed says that the file was closed.
	ErrClosed = errors.New("the file is closed")
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

	swap   sync.RWMutex // held for writing while the handle is replaced after a failed commit
	db     *bbolt.DB
	closed bool

	group group
}

// Open opens the file at path, and makes it when it is not there.
func Open(path string, opts Options) (*File, error) {
	if opts.Timeout == 0 {
		opts.Timeout = time.Second
	}
	f := &File{path: path, opts: opts}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

func (f *File) open() error {
	if err := f.makeIfMissing(); err != nil {
		return err
	}
	if err := checkWhole(f.path); err != nil {
		return err
	}
	db, err := bbolt.Open(f.path, 0o600, f.boltOptions())
	if err != nil {
		return explain(err)
	}
	if err := db.View(f.readMeta); err != nil {
		db.Close()
		return err
	}
	f.db = db
	return nil
}

func (f *File) boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:         f.opts.Timeout,
		FreelistType:    bbolt.FreelistMapType,
		NoFreelistSync:  true,
		NoSync:          f.opts.NoSync,
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

// makeIfMissing makes the file under another name and links it into place when it is whole: a power cut on the
// way leaves no file that can't be opened, and of two processes one wins.
func (f *File) makeIfMissing() error {
	if _, err := os.Stat(f.path); err == nil || !os.IsNotExist(err) || f.opts.ReadOnly {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.new-%s", f.path, uuid.NewString())
	defer os.Remove(temp)
	if err := f.make(temp); err != nil {
		return err
	}
	if err := os.Link(temp, f.path); err != nil && !os.IsExist(err) {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

func (f *File) make(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: f.opts.Timeout, NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		id := uuid.New()
		return errors.Join(b.Put(formatKey, []byte{Format}), b.Put(kindKey, []byte(f.opts.Kind)), b.Put(idKey, id[:]))
	})
	return errors.Join(err, db.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *File) readMeta(tx *bbolt.Tx) error {
	b := tx.Bucket(metaBucket)
	if b == nil {
		return fmt.Errorf("%w: it was not written by this library", ErrFormat)
	}
	if v := b.Get(formatKey); len(v) != 1 || v[0] != Format {
		return fmt.Errorf("%w: it has format version %v, and this code reads version %d", ErrFormat, v, Format)
	}
	if kind := b.Get(kindKey); string(kind) != f.opts.Kind {
		return fmt.Errorf("%w: it is a %q file, not a %q file", ErrFormat, kind, f.opts.Kind)
	}
	copy(f.id[:], b.Get(idKey))
	return nil
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// ID is made with the file and stays with it.
func (f *File) ID() uuid.UUID { return f.id }

// View calls fn with a read transaction. fn must not wait for anything and must copy what it keeps.
func (f *File) View(fn func(*bbolt.Tx) error) error {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.closed || f.db == nil {
		return ErrClosed
	}
	return f.db.View(fn)
}

// Size is the file's length in bytes.
func (f *File) Size() (n int64) {
	_ = f.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n
}

// Close waits for the transactions under way and closes the file.
func (f *File) Close() error {
	f.group.close()
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

// Tx is a write transaction that takes waiting calls of Update along.
type Tx struct {
	*bbolt.Tx
	file  *File
	stamp uint64
	calls []*call
}

// Begin starts a write transaction. Only one runs at a time; another Begin waits.
func (f *File) Begin() (*Tx, error) {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.closed || f.db == nil {
		return nil, ErrClosed
	}
	tx, err := f.db.Begin(true)
	if err != nil {
		return nil, explain(err)
	}
	return stamped(f, tx)
}

// stamped numbers the transaction inside the file, so that after a failed commit it can be read back whether it took place.
func stamped(f *File, tx *bbolt.Tx) (*Tx, error) {
	b := tx.Bucket(metaBucket)
	var last uint64
	if v := b.Get(stampKey); len(v) == 8 {
		last = binary.BigEndian.Uint64(v)
	}
	if err := b.Put(stampKey, binary.BigEndian.AppendUint64(nil, last+1)); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return &Tx{Tx: tx, file: f, stamp: last + 1}, nil
}

// Commit makes the transaction durable. After an error of bbolt, whose outcome is unknown, the file is opened anew and
// read back: Commit returns nil when the transaction is there, ErrUnknown (wrapped) when that can't be learned, and the error
// otherwise.
func (t *Tx) Commit() error {
	err := t.Tx.Commit()
	if err != nil {
		_ = t.Tx.Rollback() // after an early error bbolt leaves the transaction open
		err = t.file.readBack(t.stamp, err)
	}
	finish(t.calls, err)
	t.calls = nil
	return err
}

// Rollback undoes the transaction. The calls it took along go into the next one.
func (t *Tx) Rollback() error {
	err := t.Tx.Rollback()
	t.file.group.giveBack(t.calls)
	t.calls = nil
	return err
}

func (f *File) readBack(stamp uint64, cause error) error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.closed {
		return fmt.Errorf("%w: %w", ErrUnknown, cause)
	}
	if err := f.reopen(); err != nil {
		return fmt.Errorf("%w: %w (and opening %s again: %w)", ErrUnknown, cause, f.path, err)
	}
	var found uint64
	_ = f.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(metaBucket).Get(stampKey); len(v) == 8 {
			found = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	if found >= stamp {
		return nil
	}
	return fmt.Errorf("write %s: %w", f.path, cause)
}

func (f *File) reopen() error {
	_ = f.db.Close()
	f.db = nil
	return f.open()
}
