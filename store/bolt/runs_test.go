package bolt

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

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
		c, err := openChunk(shapeOf(want).append(nil, want))
		if err != nil || c.len() != len(want) {
			t.Fatalf("%v, %d entries, want %d", err, c.len(), len(want))
		}
		for i, e := range want {
			if c.entry(i) != e {
				t.Fatalf("entry %d is %+v, want %+v", i, c.entry(i), e)
			}
			if !slices.Contains(c.find(nil, wanted{e.prefix, 7}), hit{7, e.location}) {
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
