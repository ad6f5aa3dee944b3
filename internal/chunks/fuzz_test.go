package chunks

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// FuzzReader reads a bucket with any keys and values: entries in order, or an error.
func FuzzReader(f *testing.F) {
	db, err := bbolt.Open(filepath.Join(f.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	f.Add(Key(1), []byte{1, 'a', 2, 'b', 'c'}, Key(3), []byte{0}, uint64(2))
	f.Add(Key(1), []byte{5, 'a'}, []byte("key"), []byte{}, uint64(0))
	f.Add([]byte{1}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, Key(0), []byte{0x80}, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 []byte, from uint64) {
		_ = db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("b"))
			if err != nil || b.Put(k1, v1) != nil || b.Put(k2, v2) != nil {
				return errors.New("bbolt does not take it")
			}
			r, n := From(b.Cursor(), from), 0
			for {
				at, data, ok, err := r.Next()
				if err != nil || !ok {
					break
				}
				if n++; at < from || len(data) > len(v1)+len(v2) || n > len(v1)+len(v2) {
					t.Fatalf("entry %d, the %dth, of %d bytes, from %d", at, n, len(data), from)
				}
			}
			if _, err := Trim(b, from, 10); err != nil && !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			w := Continue(b, from)
			return errors.Join(w.Add([]byte("x")), w.Flush(), errors.New("undo it"))
		})
	})
}
