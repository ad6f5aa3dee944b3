package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// compactStep is about how many bytes are copied in one transaction.
const compactStep = 64 << 20

// Compact writes the file anew without the pages that are free, and puts it in the old one's place. Reads go on meanwhile; writes wait. A crash
// leaves the old file or the new one.
func (f *File) Compact() error {
	f.writer.Lock()
	defer f.writer.Unlock()
	temp := fmt.Sprintf("%s.compact-%s", f.path, uuid.NewString())
	defer os.Remove(temp)
	if err := f.withHandle(func(db *bbolt.DB) error { return f.copyTo(db, temp) }); err != nil {
		return fmt.Errorf("compact %s: %w", f.path, explainWrite(err))
	}
	fail.Here("compact: copied")
	if err := f.replaceBy(temp); err != nil {
		return fmt.Errorf("compact %s: %w", f.path, err)
	}
	return nil
}

func (f *File) copyTo(db *bbolt.DB, path string) (err error) {
	defer f.Guard(&err, debug.SetPanicOnFault(true))
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return err
	}
	err = bbolt.Compact(to, db, compactStep)
	return errors.Join(err, to.Sync(), to.Close())
}

// replaceBy puts another file in this one's place. When it can't be opened then, the next use tries again.
func (f *File) replaceBy(path string) error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.closed {
		return ErrClosed
	}
	if err := os.Rename(path, f.path); err != nil {
		return err
	}
	fail.Here("compact: replaced")
	return errors.Join(SyncDir(filepath.Dir(f.path)), f.reopen())
}
