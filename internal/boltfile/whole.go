package boltfile

import (
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
	headSize     = largestPage + metaAt + metaSize
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

func checkSize(file io.Reader, size int64) error {
	_, err := metaOf(file, size)
	return err
}

// metaOf gives the header of a file of that size.
func metaOf(file io.Reader, size int64) (metaPage, error) {
	head, err := io.ReadAll(io.LimitReader(file, headSize))
	if err != nil {
		return metaPage{}, err
	}
	meta, ok := newestMeta(head)
	if !ok {
		return meta, fmt.Errorf("%w: it has no valid bbolt header", ErrDamaged)
	}
	if need := meta.highWater * meta.pageSize; size < need {
		return meta, fmt.Errorf("%w: it has %d bytes, and its header speaks of %d: it was cut off", ErrDamaged, size, need)
	}
	return meta, nil
}

// newestMeta is the valid meta page that bbolt will go by.
func newestMeta(head []byte) (newest metaPage, ok bool) {
	newest, ok = metaPageAt(head, 0)
	sizes := []int64{newest.pageSize}
	if !ok {
		sizes = pageSizes()
	}
	for _, size := range sizes {
		second, ok2 := metaPageAt(head, size)
		if ok2 && (!ok || second.txid > newest.txid) {
			return second, true
		}
	}
	return newest, ok
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

func metaPageAt(head []byte, at int64) (m metaPage, ok bool) {
	if at+metaAt+metaSize > int64(len(head)) {
		return m, false
	}
	buf := head[at+metaAt:][:metaSize]
	sum := fnv.New64a()
	sum.Write(buf[:checksumAt])
	if order.Uint32(buf) != metaMagic || order.Uint64(buf[checksumAt:]) != sum.Sum64() {
		return m, false
	}
	m.pageSize = int64(order.Uint32(buf[pageSizeAt:]))
	m.root = int64(order.Uint64(buf[rootAt:]))
	m.highWater = int64(order.Uint64(buf[highWaterAt:]))
	m.txid = order.Uint64(buf[txidAt:])
	return m, m.sane()
}
