package chunks

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func open(t interface {
	Fatal(...any)
	Helper()
}, dir string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(dir+"db", 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

var name = []byte("log")

func update(t *rapid.T, db *bbolt.DB, fn func(*bbolt.Bucket) error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(name)
		return errors.Join(err, fn(b))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Against a plain list: appends of any sizes in any batches, reads from anywhere, trims.
func TestAgainstAList(t *testing.T) {
	base, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		db := open(t, fmt.Sprintf("%s/%d-", base, n))
		defer db.Close()
		var want [][]byte
		start := uint64(0)
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(0, 5000)), 0, 60).Draw(t, "sizes")
			update(t, db, func(b *bbolt.Bucket) error {
				w := NewWriter(b, uint64(len(want)))
				if rapid.Bool().Draw(t, "continue") {
					w = Continue(b, uint64(len(want)))
				}
				for _, size := range sizes {
					data := bytes.Repeat([]byte{byte(len(want))}, size)
					if err := w.Add(data); err != nil {
						return err
					}
					want = append(want, data)
				}
				if err := w.Flush(); err != nil || w.Next() != uint64(len(want)) {
					return fmt.Errorf("next %d: %w", w.Next(), err)
				}
				return b.SetSequence(w.Next())
			})
			before := rapid.Uint64Range(0, uint64(len(want))).Draw(t, "before")
			update(t, db, func(b *bbolt.Bucket) error {
				dropped, err := Trim(b, before, 1+int(before))
				if start += uint64(dropped); start > before && dropped > 0 {
					t.Fatalf("trimmed to %d, wanted at most %d", start, before)
				}
				return err
			})
			from := rapid.Uint64Range(0, uint64(len(want))).Draw(t, "from")
			check(t, db, want, start, from)
		}
	})
}

func check(t *rapid.T, db *bbolt.DB, want [][]byte, start, from uint64) {
	_ = db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(name).Cursor()
		r, at := From(c, from), max(from, start)
		for {
			n, data, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if n != at || !bytes.Equal(data, want[n]) {
				t.Fatalf("from %d: entry %d of %d bytes, wanted %d of %d", from, n, len(data), at, len(want[at]))
			}
			at++
		}
		if at != max(uint64(len(want)), from) {
			t.Fatalf("from %d: ended at %d, wanted %d", from, at, len(want))
		}
		for n := start; n < uint64(len(want)); n++ {
			if data, ok, err := Get(c, n); err != nil || !ok || !bytes.Equal(data, want[n]) {
				t.Fatalf("get %d: %v %v", n, ok, err)
			}
		}
		if _, ok, _ := Get(c, uint64(len(want))); ok {
			t.Fatal("there is an entry behind the last")
		}
		return nil
	})
}

func TestDamagedChunk(t *testing.T) {
	db := open(t, t.TempDir()+"/")
	defer db.Close()
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		if err := b.Put(Key(0), []byte{200}); err != nil {
			return err
		}
		if _, _, err := Get(b.Cursor(), 0); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off number: %v", err)
		}
		if err := b.Put(Key(0), []byte{9, 1}); err != nil {
			return err
		}
		if _, _, err := Get(b.Cursor(), 0); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off entry: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
