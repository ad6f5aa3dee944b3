package bolt

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cqrs-server/cqrs/store"
)

// What a damaged file holds gives an error at worst.

func FuzzRecords(f *testing.F) {
	key := logKey(0, 1)
	f.Add(key[:], []byte{1, 2, 3, 1, 0})
	f.Add(key[:], []byte{1, 2, 3, 1, 0, 2, 0})
	f.Add(key[:3], []byte{})
	f.Add(key[:], []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := openRecords(key, value)
		if err != nil {
			mustBeDamage(t, err)
			return
		}
		for at := r.first; at <= min(r.last(), r.first+100); at++ {
			b, err := r.at(at)
			if err != nil {
				mustBeDamage(t, err)
				continue
			}
			var record store.Record
			if err := decode(shardOf(key), at, b, &record); err != nil {
				mustBeDamage(t, err)
			}
		}
	})
}

func FuzzBlock(f *testing.F) {
	first := place{time: 5, shard: 1, t: 7}
	key := timeKey(nil, 0, first)
	f.Add(key[len(appendOrdered(nil, 0)):], appendPlace(nil, first, place{time: 9, shard: 0, t: 3, index: 2}))
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40), bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		b, err := openBlock(key, value)
		before := b.at
		for ok := err == nil; ok; {
			if ok, err = b.next(); ok && err == nil {
				if b.at.compare(before) <= 0 {
					t.Fatalf("%v comes behind %v", b.at, before)
				}
				before = b.at
			}
		}
		if err != nil {
			mustBeDamage(t, err)
		}
	})
}

func FuzzChunk(f *testing.F) {
	entries := []entry{{1, location{0, 5}}, {2, location{3, 1 << 40}}}
	f.Add(shapeOf(entries).append(nil, entries))
	f.Add([]byte{4, 8})
	f.Add([]byte{0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := openChunk(b)
		if err != nil {
			mustBeDamage(t, err)
			return
		}
		var all []entry
		for i := range c.len() {
			all = append(all, entry{c.prefix(i), c.location(i)})
		}
		if got := c.shape.append(nil, all); !bytes.Equal(got, b) {
			t.Errorf("%x was read as %v, which is %x", b, all, got)
		}
	})
}

func FuzzRuns(f *testing.F) {
	whole := runs{last: 9, all: []run{{level: 1, number: 2, into: 3, least: 4, greatest: 5}}}
	f.Add(whole.append(nil))
	f.Add([]byte{runsVersion})
	f.Add([]byte{runsVersion + 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again runs
		if r.decode(b) != nil || len(b) == 0 {
			return
		}
		if err := again.decode(r.append(nil)); err != nil || again.last != r.last || len(again.all) != len(r.all) {
			t.Errorf("%x: %+v became %+v (%v)", b, r, again, err)
		}
	})
}

func mustBeDamage(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, errDamaged) {
		t.Errorf("an error that does not say that the file is damaged: %v", err)
	}
}
