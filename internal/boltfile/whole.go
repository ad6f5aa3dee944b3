package boltfile

import (
	"errors"
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
	rootAt       = 16
	highWaterAt  = 40
	txidAt       = 48
	checksumAt   = 56
	largestPage  = 1 << 16
	smallestPage = 1 << 10
	mostPages    = 1 << 46 // times the largest page: what an int64 holds
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
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", ErrDamaged)
	}
	return checkSize(file, info.Size())
}

func checkSize(file io.ReaderAt, size int64) error {
	_, err := metaOf(file, size)
	return err
}

// metaOf gives the header of a file of that size.
func metaOf(file io.ReaderAt, size int64) (metaPage, error) {
	meta, ok, err := newestMeta(file)
	if err != nil {
		return meta, err
	}
	if !ok {
		return meta, fmt.Errorf("%w: it has no valid bbolt header", ErrDamaged)
	}
	if need := meta.highWater * meta.pageSize; size < need {
		return meta, fmt.Errorf("%w: it has %d bytes, and its header speaks of %d: it was cut off", ErrDamaged, size, need)
	}
	return meta, nil
}

// newestMeta is the valid meta page that bbolt will go by.
func newestMeta(file io.ReaderAt) (newest metaPage, ok bool, err error) {
	newest, ok, err = metaPageAt(file, 0)
	sizes := []int64{newest.pageSize}
	if !ok {
		sizes = pageSizes()
	}
	for _, size := range sizes {
		second, ok2, err2 := metaPageAt(file, size)
		if err = errors.Join(err, err2); ok2 && (!ok || second.txid > newest.txid) {
			return second, true, err
		}
	}
	return newest, ok, err
}

func pageSizes() (sizes []int64) {
	for s := int64(smallestPage); s <= largestPage; s *= 2 {
		sizes = append(sizes, s)
	}
	return sizes
}

type metaPage struct {
	pageSize, highWater int64
	root                int64
	txid                uint64
}

func (m metaPage) sane() bool {
	return m.pageSize >= smallestPage && m.pageSize <= largestPage && m.highWater > 2 && m.highWater < mostPages
}

// metaPageAt reads the meta page at an offset. It is not ok when there is none.
func metaPageAt(file io.ReaderAt, at int64) (m metaPage, ok bool, err error) {
	var page [metaSize]byte
	if _, err := file.ReadAt(page[:], at+metaAt); errors.Is(err, io.EOF) {
		return m, false, nil
	} else if err != nil {
		return m, false, err
	}
	buf := page[:]
	sum := fnv.New64a()
	sum.Write(buf[:checksumAt])
	if order.Uint32(buf) != metaMagic || order.Uint64(buf[checksumAt:]) != sum.Sum64() {
		return m, false, nil
	}
	m.pageSize = int64(order.Uint32(buf[pageSizeAt:]))
	m.root = int64(order.Uint64(buf[rootAt:]))
	m.highWater = int64(order.Uint64(buf[highWaterAt:]))
	m.txid = order.Uint64(buf[txidAt:])
	return m, m.sane(), nil
}
