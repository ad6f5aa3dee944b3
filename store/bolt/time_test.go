package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// checkBlocks checks that no block begins before the one in front of it ends, and that none is too long.
func checkBlocks(tx *bbolt.Tx) error {
	var number []byte
	var last place
	return tx.Bucket(timeBucket).ForEach(func(key, value []byte) error {
		n := 1 + int(key[0])
		b, err := openBlock(key[n:], value)
		if bytes.Equal(key[:n], number) && b.at.compare(last) <= 0 {
			return fmt.Errorf("the block at %+v begins before %+v, where another ends", b.at, last)
		}
		if len(value) > maxBlock {
			return fmt.Errorf("the block at %+v has %d bytes", b.at, len(value))
		}
		for ok := err == nil; ok; ok, err = b.next() {
			last = b.at
		}
		number = bytes.Clone(key[:n])
		return err
	})
}

// putTimes puts one record for each time, in batches.
func putTimes(t *testing.T, f *boltfile.File, batch int, times []int64) {
	t.Helper()
	s, n := On(f), uint64(0)
	for part := range slices.Chunk(times, batch) {
		var rs []store.Record
		for _, at := range part {
			n++
			r := record(0, n, "x")
			r.Time = at
			rs = append(rs, r)
		}
		within(t, f, func(tx *bbolt.Tx) error { return s.PutTx(tx, rs, true) })
	}
}

// TestBlocks checks the order of a query, and how many places share a block: it is what makes the index cheap.
func TestBlocks(t *testing.T) {
	up, near, down, same := make([]int64, 4000), make([]int64, 4000), make([]int64, 4000), make([]int64, 4000)
	for i := range up {
		up[i], near[i], down[i] = int64(i), int64(i^63), int64(-i)
	}
	wild := []int64{math.MaxInt64, math.MinInt64, 0, -1, 1, math.MaxInt64 - 1, math.MinInt64 + 1, 0}
	for name, c := range map[string]struct {
		times []int64
		batch int
		least int // places in a block, at least and on average
	}{
		"times grow":             {up, 100, 200},
		"times grow, one by one": {up, 1, 200},
		"times nearly grow":      {near, 50, 80},
		"nearly, one by one":     {near, 1, 20},
		"times go back":          {down, 1000, 150},
		"one time":               {same, 100, 200},
		"wild times":             {wild, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFile(t)
			putTimes(t, f, c.batch, c.times)
			checkFile(t, f)
			got := all(t, On(f).Query(t.Context(), store.Query{}))
			if !slices.IsSortedFunc(got, func(a, b store.Entry) int { return placeOf(&a).compare(placeOf(&b)) }) || len(got) != len(c.times) {
				t.Errorf("the query gave %d entries, want %d in order", len(got), len(c.times))
			}
			if n := blocks(f); n*c.least > len(c.times) {
				t.Errorf("%d blocks for %d events", n, len(c.times))
			}
		})
	}
}

func blocks(f *boltfile.File) (n int) {
	_ = f.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(timeBucket).Stats().KeyN
		return nil
	})
	return n
}

func TestDamagedBlock(t *testing.T) {
	key := timeKey(nil, 0, place{time: 5, t: 5, index: 1})[1:]
	for name, value := range map[string][]byte{
		"cut off":       {1, 0, 2},
		"a bad number":  {0x80, 0x80},
		"a huge index":  {1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"no difference": {0, 0, 0, 1},
		"backwards":     {0, 0, 1, 1},
	} {
		b, err := openBlock(key, value)
		if err == nil {
			_, err = b.next()
		}
		if !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, want errDamaged", name, err)
		}
	}
	if _, err := openBlock(key[:9], nil); !errors.Is(err, errDamaged) {
		t.Errorf("short key: %v, want errDamaged", err)
	}
}

func TestTimeKeyOrder(t *testing.T) {
	anyPlace := rapid.Custom(func(t *rapid.T) place {
		return place{
			time:  rapid.Int64().Draw(t, "time"),
			shard: int(rapid.Uint32().Draw(t, "shard")),
			t:     rapid.Uint64().Draw(t, "t"),
			index: rapid.IntRange(0, math.MaxInt32).Draw(t, "index"),
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
