package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// makeIfMissing makes the file under another name and links it into place when it is whole: a power cut on the
// way leaves no file that can't be opened, and of two processes one wins.
func (f *File) makeIfMissing() error {
	if _, err := os.Stat(f.path); err == nil || !os.IsNotExist(err) || f.opts.ReadOnly {
		return err
	}
	dir := filepath.Dir(f.path)
	if err := MakeDir(dir); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.new-%s", f.path, uuid.NewString())
	defer os.Remove(temp)
	fail.Here("file: make")
	if err := f.make(temp); err != nil {
		return err
	}
	fail.Here("file: made")
	if err := os.Link(temp, f.path); err != nil && !os.IsExist(err) && !f.isThere() { // the one who won may have swept up
		return err
	}
	fail.Here("file: linked")
	if f.opts.NoSync {
		return nil
	}
	return SyncDir(dir)
}

func (f *File) isThere() bool {
	_, err := os.Stat(f.path)
	return err == nil
}

// sweep removes what processes that were killed left beside the file. The file is locked, so nobody is at work on a copy, and whoever is
// making the file comes too late.
func (f *File) sweep() {
	dir, name := filepath.Dir(f.path), filepath.Base(f.path)
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if strings.HasPrefix(e.Name(), name+".new-") || strings.HasPrefix(e.Name(), name+".compact-") {
			_ = os.Remove(filepath.Join(dir, e.Name())) // the next to open the file tries again
		}
	}
}

func (f *File) make(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: f.opts.Timeout, NoFreelistSync: true, NoSync: f.opts.NoSync, NoGrowSync: f.opts.NoSync})
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

// MakeDir makes a folder and those above it that are missing. A power cut afterwards does not take them away.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !os.IsNotExist(err) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	fail.Here("folder: made")
	return SyncDir(parent)
}

// SyncDir makes durable what was made, renamed and removed in a folder.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // there a folder can't be synced, and need not be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
