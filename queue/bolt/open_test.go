package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
)

func at(dir string, shard int) string { return filepath.Join(dir, fmt.Sprintf("queue-%d.db", shard)) }

// made is a folder with a queue, with or without a message in each shard.
func made(t *testing.T, shards int, used bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "queue")
	q, err := Open(dir, shards)
	must(t, err)
	for shard := range shards {
		if used {
			must(t, q.Append(t.Context(), "a", shard, texts("a")))
		}
	}
	must(t, q.Close())
	return dir
}

func TestOpenRefusesAnotherFolder(t *testing.T) {
	for name, c := range map[string]struct {
		shards int // asked for; the folder was made with 3
		change func(dir string) error
		says   string
	}{
		"fewer shards":  {2, nil, "has 3 shards, and 2 were asked for: open it with 3"},
		"one shard":     {1, nil, "has 3 shards, and 1 were asked for: open it with 3"},
		"more shards":   {4, nil, "has 3 shards, and 4 were asked for: open it with 3"},
		"no shards":     {0, nil, "at least 1"},
		"last is gone":  {3, func(dir string) error { return os.Remove(at(dir, 2)) }, "queue-2.db is missing"},
		"first is gone": {3, func(dir string) error { return os.Remove(at(dir, 0)) }, "queue-0.db is missing"},
		"only last":     {3, func(dir string) error { return errors.Join(os.Remove(at(dir, 0)), os.Remove(at(dir, 1))) }, "queue-1.db is missing"},
		"exchanged": {3, func(dir string) error {
			return errors.Join(os.Rename(at(dir, 0), dir+"x"), os.Rename(at(dir, 1), at(dir, 0)), os.Rename(dir+"x", at(dir, 1)))
		}, "is the file of shard 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := made(t, 3, true)
			if c.change != nil {
				must(t, c.change(dir))
			}
			for range 2 { // the second shows that the first let go of the files, and made none
				_, err := Open(dir, c.shards)
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("want %q and the folder: %v", c.says, err)
				}
			}
		})
	}
}

// A folder whose making was interrupted is finished by the next Open.
func TestOpenFinishesWhatWasInterrupted(t *testing.T) {
	for _, left := range [][]int{{2}, {1, 2}, {0, 1, 2}} {
		dir := made(t, 3, false)
		for shard := range 3 {
			if !slices.Contains(left, shard) {
				must(t, os.Remove(at(dir, shard)))
			}
		}
		first := at(dir, left[0]) // made, but its place was not written yet
		must(t, os.Remove(first))
		f, err := boltfile.Open(first, boltfile.Options{Kind: kind})
		must(t, err)
		must(t, f.Close())
		must(t, os.WriteFile(at(dir, 0)+".new-1234", nil, 0o600))
		must(t, openDir(t, dir, 3).Close())
		if _, err := Open(dir, 2); err == nil {
			t.Error("it opens with 2 shards")
		}
	}
}

// Invariant 18.
func TestOpenLocked(t *testing.T) {
	dir := made(t, 2, true)
	openDir(t, dir, 2)
	if _, err := Open(dir, 2); !errors.Is(err, boltfile.ErrLocked) || !strings.Contains(err.Error(), at(dir, 0)) {
		t.Errorf("want ErrLocked and the path: %v", err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := boltfile.Open(at(dir, 0), boltfile.Options{Kind: "store"})
	must(t, err)
	must(t, f.Close())
	if _, err := Open(dir, 1); !errors.Is(err, boltfile.ErrFormat) {
		t.Errorf("want ErrFormat: %v", err)
	}
}
