package bolt

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func openFile(t testing.TB) *boltfile.File {
	t.Helper()
	f, err := boltfile.Open(filepath.Join(t.TempDir(), "file"), boltfile.Options{Kind: "test", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tightID has one of n prefixes, so that prefixes meet.
func tightID(prefix, rest uint64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], prefix*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[8:], rest)
	return id
}

// addAll adds ids to the index by event id, in which each is found under its first 8 bytes.
func addAll(tx *bbolt.Tx, ids []uuid.UUID, t uint64) error {
	x, mem := idIndex{idKind: byEvent}, arena{}
	defer x.release()
	if err := x.open(tx, len(ids)); err != nil {
		return err
	}
	for i, id := range ids {
		x.add(id, i%3, t)
	}
	return x.flush(&mem)
}

// TestIndexFindsAll adds batches of all sizes, some of which are rolled back, and then looks for every id.
func TestIndexFindsAll(t *testing.T) {
	f := openFile(t)
	rapid.Check(t, func(rt *rapid.T) {
		empty(t, f)
		prefixes := rapid.SampledFrom([]uint64{1, 5, 300, 1 << 60}).Draw(rt, "prefixes")
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 1, 2, 7, 8, 9, 63, 64, 65, 150, 700}), 1, 120).Draw(rt, "sizes")
		want := map[uint64][]location{}
		for i, size := range sizes {
			ids := tightIDs(uint64(i), size, prefixes)
			if rapid.IntRange(0, 9).Draw(rt, "rolled back") == 0 {
				roll(rt, f, ids, uint64(i+1), false)
				continue
			}
			roll(rt, f, ids, uint64(i+1), true)
			for j, id := range ids {
				want[eventPrefix(id)] = append(want[eventPrefix(id)], location{uint32(j % 3), uint64(i + 1)})
			}
		}
		checkIndex(rt, f, want)
	})
}

func tightIDs(seed uint64, n int, prefixes uint64) (ids []uuid.UUID) {
	for j := range uint64(n) {
		ids = append(ids, tightID((seed*1000003+j*7919)%prefixes, seed<<32|j))
	}
	return ids
}

type fataler interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

func roll(t fataler, f *boltfile.File, ids []uuid.UUID, at uint64, commit bool) {
	tx, err := f.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := addAll(tx.Tx, ids, at); err != nil {
		_ = tx.Rollback()
		t.Fatal(err)
	}
	if commit {
		err = tx.Commit()
	} else {
		err = tx.Rollback()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func empty(t *testing.T, f *boltfile.File) {
	t.Helper()
	err := f.Update(t.Context(), func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{eventBucket, runsBucket} {
			if tx.Bucket(name) != nil {
				if err := tx.DeleteBucket(name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkIndex checks that each location is found once, and that the chunks hold these entries and no others.
func checkIndex(t fataler, f *boltfile.File, want map[uint64][]location) {
	err := f.View(func(tx *bbolt.Tx) error {
		total := 0
		for prefix, wanted := range want {
			hits, err := byEvent.lookUp(tx, tightOf(prefix))
			if err != nil {
				return err
			}
			got := locations(hits)
			if total += len(wanted); !sameLocations(got, wanted) {
				t.Fatalf("prefix %x: got %d locations, want %d", prefix, len(got), len(wanted))
			}
		}
		if tx.Bucket(eventBucket) == nil {
			return nil
		}
		return checkRuns(t, tx, total)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tightOf(prefix uint64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], prefix)
	return id
}

func locations(hits []hit) (at []location) {
	for _, h := range hits {
		at = append(at, h.location)
	}
	return at
}

func sameLocations(a, b []location) bool {
	order := func(a, b location) int { return entry{0, a}.compare(entry{0, b}) }
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.Equal(a, b)
}

func checkRuns(t fataler, tx *bbolt.Tx, total int) error {
	var r runs
	if err := r.decode(tx.Bucket(runsBucket).Get(byEvent.list)); err != nil {
		return err
	}
	if limit := 3 * fanOut * (r.top() + 1); len(r.all) > limit {
		t.Fatalf("%d runs for %d entries, want at most %d", len(r.all), total, limit)
	}
	n, last := 0, entry{}
	var number uint64
	err := tx.Bucket(eventBucket).ForEach(func(key, value []byte) error {
		c, err := openChunk(value)
		if err != nil {
			return err
		}
		if k := binary.BigEndian.Uint64(key); k != number {
			number, last = k, entry{}
		}
		at := slices.IndexFunc(r.all, func(run run) bool { return run.number == number })
		if at < 0 {
			t.Fatalf("a chunk of run %d, which is not in the list", number)
		}
		if c.prefix(0) < r.all[at].least || c.prefix(c.len()-1) > r.all[at].greatest {
			t.Fatalf("run %d has prefixes beyond its bounds", number)
		}
		for i := range c.len() {
			if e := c.entry(i); e.prefix < last.prefix {
				t.Fatalf("run %d is not sorted", number)
			} else {
				last = e
			}
		}
		n += c.len()
		return nil
	})
	if n != total {
		t.Fatalf("the runs hold %d entries, want %d", n, total)
	}
	return err
}

// TestIndexTies has few prefixes, so that merges stop and chunks end between entries with the same one.
func TestIndexTies(t *testing.T) {
	for _, prefixes := range []uint64{1, 2, 3, 40} {
		f := openFile(t)
		want := map[uint64][]location{}
		for i := range uint64(30) {
			ids := tightIDs(i, 700, prefixes)
			roll(t, f, ids, i+1, true)
			for j, id := range ids {
				want[eventPrefix(id)] = append(want[eventPrefix(id)], location{uint32(j % 3), i + 1})
			}
		}
		checkIndex(t, f, want)
	}
}

// TestIndexBounds checks that no write moves more than it may, and that the number of runs stays small.
func TestIndexBounds(t *testing.T) {
	f := openFile(t)
	for _, c := range []struct{ batch, batches int }{{1, 6000}, {100, 400}, {1000, 80}} {
		empty(t, f)
		most := 0
		err := f.Update(t.Context(), func(tx *bbolt.Tx) error {
			for i := range c.batches {
				runs, err := addBounded(tx, c.batch, i)
				if err != nil {
					return err
				}
				most = max(most, runs)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if most > 60 {
			t.Errorf("batches of %d: up to %d runs", c.batch, most)
		}
	}
}

// addBounded adds a batch of n ids, checks how much that moves, and tells how many runs there are.
func addBounded(tx *bbolt.Tx, n, batch int) (int, error) {
	x, mem := idIndex{idKind: byEvent}, arena{}
	defer x.release()
	if err := x.open(tx, n); err != nil {
		return 0, err
	}
	for _, m := range x.moves {
		if len(m.entries) > effort(n) {
			return 0, fmt.Errorf("a write of %d moved %d entries", n, len(m.entries))
		}
	}
	for j := range n {
		x.add(uuid.New(), 0, uint64(batch*n+j+1))
	}
	err := x.flush(&mem)
	return len(x.runs.all), err
}
