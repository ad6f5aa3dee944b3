package bolt

import (
	"encoding/binary"
	"errors"
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

func addAll(tx *bbolt.Tx, ids []uuid.UUID, t uint64) error {
	x, err := openEventIndex(tx, len(ids))
	if err != nil {
		return err
	}
	for i, id := range ids {
		x.add(id, i%3, t)
	}
	return x.flush()
}

// TestEventIndexFindsAll adds batches of all sizes, some of which are rolled back, and then looks for every id.
func TestEventIndexFindsAll(t *testing.T) {
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
				want[prefixOf(id)] = append(want[prefixOf(id)], location{uint32(j % 3), uint64(i + 1)})
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
		for prefix, locations := range want {
			got, err := lookUp(tx, tightOf(prefix))
			if err != nil {
				return err
			}
			if total += len(locations); !sameLocations(got, locations) {
				t.Fatalf("prefix %x: got %d locations, want %d", prefix, len(got), len(locations))
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

func sameLocations(a, b []location) bool {
	order := func(a, b location) int { return entry{0, a}.compare(entry{0, b}) }
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.Equal(a, b)
}

func checkRuns(t fataler, tx *bbolt.Tx, total int) error {
	var r runs
	if err := r.decode(tx.Bucket(runsBucket).Get(runsKey)); err != nil {
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
		if !slices.ContainsFunc(r.all, func(run run) bool { return run.number == number }) {
			t.Fatalf("a chunk of run %d, which is not in the list", number)
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

// TestEventIndexTies has few prefixes, so that merges stop and chunks end between entries with the same one.
func TestEventIndexTies(t *testing.T) {
	for _, prefixes := range []uint64{1, 2, 3, 40} {
		f := openFile(t)
		want := map[uint64][]location{}
		for i := range uint64(30) {
			ids := tightIDs(i, 700, prefixes)
			roll(t, f, ids, i+1, true)
			for j, id := range ids {
				want[prefixOf(id)] = append(want[prefixOf(id)], location{uint32(j % 3), i + 1})
			}
		}
		checkIndex(t, f, want)
	}
}

func TestPlan(t *testing.T) {
	var r runs
	for range fanOut - 1 {
		r.add(0)
	}
	if r.plan(); len(r.targets()) != 0 {
		t.Fatal("a merge of too few runs")
	}
	r.add(0)
	r.plan()
	if got := r.targets(); !slices.Equal(got, []uint64{fanOut + 1}) || len(r.sources(got[0])) != fanOut {
		t.Fatalf("the merges are %v", got)
	}
	r.add(0)
	before := slices.Clone(r.all)
	if r.plan(); !slices.Equal(r.all, before) {
		t.Fatalf("runs that are being merged were planned again: %+v", r.all)
	}
	for range 2 * fanOut {
		r.add(1)
	}
	if r.plan(); len(r.targets()) != 3 || len(r.idle(1)) != 0 || len(r.idle(2)) != 0 {
		t.Fatalf("two more merges are due: %+v", r.all)
	}
}

// TestEventIndexBounds checks that no write moves more than it may, and that the number of runs stays small.
func TestEventIndexBounds(t *testing.T) {
	f := openFile(t)
	for _, c := range []struct{ batch, batches int }{{1, 6000}, {100, 400}, {1000, 80}} {
		empty(t, f)
		most := 0
		err := f.Update(t.Context(), func(tx *bbolt.Tx) error {
			for i := range c.batches {
				x, err := openEventIndex(tx, c.batch)
				if err != nil {
					return err
				}
				for _, m := range x.moves {
					if len(m.entries) > effort(c.batch) {
						t.Fatalf("a write of %d moved %d entries", c.batch, len(m.entries))
					}
				}
				for j := range c.batch {
					x.add(uuid.New(), 0, uint64(i*c.batch+j+1))
				}
				if err := x.flush(); err != nil {
					return err
				}
				most = max(most, len(x.runs.all))
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

func TestLevelOf(t *testing.T) {
	for n, want := range map[int]int{1: 0, 7: 0, 8: 1, 63: 1, 64: 2, 511: 2, 512: 3, 4095: 3, 4096: 4} {
		if got := levelOf(n); got != want {
			t.Errorf("levelOf(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestChunk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) entry {
			return entry{
				prefix:   rapid.Uint64().Draw(t, "prefix"),
				location: location{rapid.Uint32().Draw(t, "shard"), rapid.Uint64().Draw(t, "t")},
			}
		})).Draw(t, "entries")
		slices.SortFunc(want, entry.compare)
		c, err := openChunk(appendChunk(nil, want))
		if err != nil || c.len() != len(want) {
			t.Fatalf("%v, %d entries, want %d", err, c.len(), len(want))
		}
		for i, e := range want {
			if c.entry(i) != e {
				t.Fatalf("entry %d is %+v, want %+v", i, c.entry(i), e)
			}
			if !slices.Contains(c.find(nil, e.prefix), e.location) {
				t.Fatalf("entry %d is not found", i)
			}
		}
	})
}

func TestDamagedIndex(t *testing.T) {
	for name, data := range map[string][]byte{"empty": {}, "short": {1}, "wide": {5, 1}, "long": {0, 9}, "cut off": {1, 1, 0, 0, 0}} {
		if _, err := openChunk(data); !errors.Is(err, errDamaged) {
			t.Errorf("chunk %s: %v, want errDamaged", name, err)
		}
	}
	var r runs
	r.add(3)
	r.add(300)
	data := r.append(nil)
	if err := new(runs).decode(data[:len(data)-1]); !errors.Is(err, errDamaged) {
		t.Errorf("runs cut off: %v, want errDamaged", err)
	}
	data[0] = 2
	if err := new(runs).decode(data); err == nil {
		t.Error("another version was taken")
	}
}

func TestTimeKeyOrder(t *testing.T) {
	anyPlace := rapid.Custom(func(t *rapid.T) place {
		return place{
			time:  rapid.Int64().Draw(t, "time"),
			shard: int(rapid.Uint32().Draw(t, "shard")),
			t:     rapid.Uint64().Draw(t, "t"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyPlace.Draw(t, "a"), anyPlace.Draw(t, "b")
		ka, kb := timeKey(nil, 0, a), timeKey(nil, 0, b)
		if slices.Compare(ka, kb) != a.compare(b) {
			t.Fatalf("keys %x and %x are not in the order of %+v and %+v", ka, kb, a, b)
		}
		if got, err := parseTimeKey(ka[1:]); err != nil || got != a {
			t.Fatalf("got %+v, %v; want %+v", got, err, a)
		}
	})
}
