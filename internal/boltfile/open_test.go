package boltfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

func TestOpenMakesAndKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "some", "new", "folder", "a.db")
	f := openAt(t, path)
	id := f.ID()
	must(t, update(f, "k"))
	must(t, f.Close())
	must(t, f.Close())
	f = openAt(t, path)
	if !has(t, f, "k") || f.ID() != id || id == uuid.Nil || f.Path() != path || f.Size() == 0 {
		t.Fatalf("opened again: key %v, id %v (was %v), path %q, size %d", has(t, f, "k"), f.ID(), id, f.Path(), f.Size())
	}
	onlyFile(t, path)
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Fatalf("the folder holds %v", entries)
	}
}

func TestOpenConcurrentCreatorsMakeOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	ids := make([]uuid.UUID, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			f, err := Open(path, Options{Kind: "test", Timeout: 20 * time.Second})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = f.ID()
			must(t, f.Close())
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one path has had several files: %v", ids)
		}
	}
	onlyFile(t, path)
}

// createFiles makes one file after the other until it is killed.
func createFiles(dir string) error {
	fmt.Println("ready")
	for i := 0; ; i++ {
		f, err := Open(filepath.Join(dir, fmt.Sprintf("%d.db", i)), Options{Kind: "test"})
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

func TestOpenKilledCreatorLeavesNoBrokenFile(t *testing.T) {
	for round := range 12 {
		dir := t.TempDir()
		cmd, in := startChild(t, "create", dir)
		kill := time.NewTimer(time.Duration(rand.IntN(40_000)+1) * time.Microsecond)
		<-kill.C
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_ = in.Close()
		t.Logf("round %d: %d files", round, checkAllOpen(t, dir))
	}
}

func checkAllOpen(t *testing.T, dir string) (files int) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.Contains(e.Name(), ".new-") {
			continue
		}
		must(t, openAt(t, filepath.Join(dir, e.Name())).Close())
		files++
	}
	return files
}

// holdFile keeps a file open until its input ends.
func holdFile(path string) error {
	f, err := Open(path, Options{Kind: "test"})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return f.Close()
}

// Invariant 18.
func TestOpenLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	cmd, in := startChild(t, "hold", path)
	checkLocked(t, path, Options{Kind: "test"})
	checkLocked(t, path, Options{Kind: "test", ReadOnly: true})
	must(t, in.Close())
	must(t, cmd.Wait())
	must(t, openAt(t, path).Close())
}

func TestOpenLockedByThisProcess(t *testing.T) {
	f := open(t)
	checkLocked(t, f.Path(), Options{Kind: "test"})
	must(t, update(f, "still works"))
}

func checkLocked(t *testing.T, path string, opts Options) {
	t.Helper()
	start := time.Now()
	_, err := Open(path, opts)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("want ErrLocked with the path: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if _, err := Open(path, Options{Kind: "test", ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("want ErrNotExist: %v", err)
	}
	f := openAt(t, path)
	must(t, update(f, "k"))
	must(t, f.Close())
	f, err := Open(path, Options{Kind: "test", ReadOnly: true})
	must(t, err)
	defer f.Close()
	if err := update(f, "k2"); !errors.Is(err, berrors.ErrDatabaseReadOnly) || !has(t, f, "k") {
		t.Fatalf("want ErrDatabaseReadOnly: %v", err)
	}
}

func TestOpenRefusesOtherContents(t *testing.T) {
	meta := func(key []byte, value []byte) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(key, value) }
	}
	for name, c := range map[string]struct {
		change func(*bbolt.Tx) error
		says   string
	}{
		"kind":          {meta(kindKey, []byte("store")), `"store" file, not a "test"`},
		"newer format":  {meta(formatKey, []byte{Format + 1}), "version [2]"},
		"longer format": {meta(formatKey, []byte{Format, 0}), "version [1 0]"},
		"no id":         {func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Delete(idKey) }, "id is missing"},
		"no meta":       {func(tx *bbolt.Tx) error { return tx.DeleteBucket(metaBucket) }, "not written by this library"},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			must(t, f.db.Update(c.change))
			must(t, f.Close())
			for range 2 { // the second shows that the first let go of the lock
				checkRefused(t, f.Path(), ErrFormat, c.says)
			}
		})
	}
}

func checkRefused(t *testing.T, path string, want error, says string) {
	t.Helper()
	f, err := Open(path, Options{Kind: "test"})
	if err == nil {
		_ = f.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
		t.Fatalf("want %q with %q and the path: %v", want, says, err)
	}
}

func TestOpenRefusesGarbage(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, 15, 16, 79, 80, 1024, 4095, 4096, 8192, 16384, 100_000, 1 << 20} {
		path := filepath.Join(dir, fmt.Sprint(size))
		must(t, os.WriteFile(path, randomBytes(size), 0o600))
		checkRefused(t, path, ErrDamaged, "header")
	}
	checkRefused(t, dir, ErrDamaged, "regular")
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// filled is the contents of a file with many pages, as much of it as its header speaks of.
func filled(t *testing.T) []byte {
	t.Helper()
	f := open(t)
	for i := range 20 {
		must(t, f.Update(context.Background(), func(tx *bbolt.Tx) error {
			return put(tx, fmt.Sprint(i), randomBytes(5000))
		}))
	}
	size := f.Size()
	must(t, f.Close())
	b, err := os.ReadFile(f.Path())
	must(t, err)
	return b[:size]
}

func TestOpenRefusesCutOffFile(t *testing.T) {
	whole := filled(t)
	lengths := []int{0, 1, 15, 16, 17, 79, 80, 81, len(whole) - 1}
	for n := 61; n < 9000; n += 61 {
		lengths = append(lengths, n)
	}
	for n := 4096; n < len(whole); n += 4096 {
		lengths = append(lengths, n-1, n, n+1)
	}
	dir := t.TempDir()
	for _, n := range lengths {
		path := filepath.Join(dir, fmt.Sprint(n))
		must(t, os.WriteFile(path, whole[:n], 0o600))
		checkRefused(t, path, ErrDamaged, "header")
		must(t, os.Remove(path))
	}
	path := filepath.Join(dir, "whole")
	must(t, os.WriteFile(path, whole, 0o600))
	openAt(t, path)
}

// A header page that is damaged is not used; the other one gives the value of that or of the commit before.
func TestOpenWithOneDamagedHeader(t *testing.T) {
	whole := filled(t)
	path := filepath.Join(t.TempDir(), "a.db")
	for page := range 2 {
		for _, at := range []int{16, 16 + pageSizeAt, 16 + highWaterAt, 16 + txidAt, 16 + checksumAt} {
			broken := append([]byte(nil), whole...)
			broken[page*os.Getpagesize()+at] ^= 0x55
			must(t, os.WriteFile(path, broken, 0o600))
			f := openAt(t, path)
			if !has(t, f, "18") {
				t.Errorf("page %d, byte %d: an older commit is gone", page, at)
			}
			must(t, update(f, "more"))
			must(t, f.Close())
		}
	}
	broken := append([]byte(nil), whole...)
	broken[16+txidAt] ^= 1
	broken[os.Getpagesize()+16+txidAt] ^= 1
	must(t, os.WriteFile(path, broken, 0o600))
	checkRefused(t, path, ErrDamaged, "header")
}
