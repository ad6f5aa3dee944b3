package boltfile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzHead reads the head of a file that something else may have written.
func FuzzHead(f *testing.F) {
	path := filepath.Join(f.TempDir(), "f")
	file, err := Open(path, Options{Kind: "test"})
	if err != nil {
		f.Fatal(err)
	}
	if err := file.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	head := whole[:2*os.Getpagesize()]
	f.Add(head, int64(len(whole)))
	f.Add(head[:100], int64(0))
	f.Add(head[os.Getpagesize():], int64(1)<<62)
	f.Add([]byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		if err := checkSize(bytes.NewReader(head), size); err != nil {
			return
		}
		if m, ok, _ := newestMeta(bytes.NewReader(head)); !ok || m.highWater*m.pageSize > size {
			t.Errorf("a head of %+v passed for a file of %d bytes", m, size)
		}
	})
}
