package boltfile

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The head of a bbolt file: two meta pages, each a 16-byte page header and then the fields below (bbolt's
// internal/common/meta.go, stable since 2014).
const (
	metaMagic    = 0xED0CDAED
	metaAt       = 16
	metaSize     = 64
	pageSizeAt   = 8
	highWaterAt  = 40
	txidAt       = 48
	checksumAt   = 56
	largestPage  = 1 << 16
	smallestPage = 1 << 10
)

// checkWhole refuses a file that is shorter than its own header says. bbolt maps the file into memory, so reading beyond its
// end would kill the process instead of giving an error.
func checkWhole(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	need, err := wantedSize(file)
	if err != nil {
		return err
	}
	if info.Size() < need {
		return fmt.Errorf("%w: it has %d bytes, and its header speaks of %d: it was cut off", ErrDamaged, info.Size(), need)
	}
	return nil
}

// wantedSize is the smallest size that fits the newest valid meta page.
func wantedSize(r io.ReaderAt) (int64, error) {
	first, ok := readMetaPage(r, 0)
	sizes := []int64{first.pageSize}
	if !ok {
		sizes = pageSizes()
	}
	for _, size := range sizes {
		second, ok2 := readMetaPage(r, size)
		switch {
		case ok2 && (!ok || second.txid > first.txid):
			return second.highWater * second.pageSize, nil
		case ok:
			return first.highWater * first.pageSize, nil
		}
	}
	return 0, fmt.Errorf("%w: it has no valid bbolt header", ErrDamaged)
}

func pageSizes() (sizes []int64) {
	for s := int64(smallestPage); s <= largestPage; s *= 2 {
		sizes = append(sizes, s)
	}
	return sizes
}

type metaPage struct {
	pageSize, highWater int64
	txid                uint64
}

func readMetaPage(r io.ReaderAt, at int64) (metaPage, bool) {
	buf := make([]byte, metaSize)
	if _, err := r.ReadAt(buf, at+metaAt); err != nil {
		return metaPage{}, false
	}
	sum := fnv.New64a()
	sum.Write(buf[:checksumAt])
	order := binary.NativeEndian // bbolt writes its structs as they lie in memory
	if order.Uint32(buf) != metaMagic || order.Uint64(buf[checksumAt:]) != sum.Sum64() {
		return metaPage{}, false
	}
	return metaPage{
		pageSize:  int64(order.Uint32(buf[pageSizeAt:])),
		highWater: int64(order.Uint64(buf[highWaterAt:])),
		txid:      order.Uint64(buf[txidAt:]),
	}, true
}
