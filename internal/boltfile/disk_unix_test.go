//go:build unix

package boltfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// Invariant 21, on a disk that is really full: the system refuses to let the file grow, or to write some of its pages.
func TestDiskFull(t *testing.T) {
	cmd := exec.Command(os.Args[0], filepath.Join(t.TempDir(), "a.db"))
	cmd.Env = append(os.Environ(), childEnv+"=full")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fillDisk runs in a process of its own, because the limit holds for a whole process.
func fillDisk(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	f, err := Open(path, Options{Kind: "test"})
	if err != nil {
		return err
	}
	if err := update(f, "earlier"); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, limit := range []uint64{uint64(info.Size()), uint64(f.Size()) + 100, 2 * 4096, 1} {
		big := max(1<<20, int(min(limit, uint64(info.Size()))))
		if err := writeBelow(f, limit, big); err != nil {
			return fmt.Errorf("with a limit of %d bytes: %w", limit, err)
		}
	}
	return f.Close()
}

// writeBelow checks that a write of so many bytes fails cleanly while files may not be longer than limit, and that writing works again afterwards.
func writeBelow(f *File, limit uint64, big int) error {
	if err := limitFiles(limit); err != nil {
		return err
	}
	for i := range 2 {
		err := f.Update(context.Background(), func(tx *bbolt.Tx) error { return put(tx, "big", make([]byte, big)) })
		if err == nil || errors.Is(err, ErrUnknown) {
			return fmt.Errorf("try %d: a write that does not fit ends with: %v", i, err)
		}
		if err := expect(f, map[string]bool{"earlier": true, "big": false}); err != nil {
			return err
		}
	}
	if err := limitFiles(^uint64(0)); err != nil {
		return err
	}
	later := fmt.Sprint("later ", limit)
	if err := update(f, later); err != nil {
		return err
	}
	return expect(f, map[string]bool{"earlier": true, "big": false, later: true})
}

func limitFiles(size uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &r); err != nil {
		return err
	}
	r.Cur = min(size, r.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &r)
}

func expect(f *File, keys map[string]bool) error {
	return f.View(func(tx *bbolt.Tx) error {
		for key, want := range keys {
			if hasKey(tx, key) != want {
				return fmt.Errorf("%q is there: %v", key, !want)
			}
		}
		return nil
	})
}
