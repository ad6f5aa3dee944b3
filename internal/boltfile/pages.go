package boltfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// The pages of a bbolt file, as its internal/common/page.go lays them out: a header, then the elements, then keys and values. What
// bbolt reads it reads without a check, out of memory that is mapped: a damaged page makes it panic, run in circles, or kills the
// process. So the pages are looked at before bbolt is given the file. What cannot be seen is damage inside a key or a value that leaves the
// order of the keys as it is.
const (
	pageHead    = 16
	elementSize = 16 // of a branch: pos, ksize, pgid; of a leaf: flags, pos, ksize, vsize
	bucketHead  = 16 // root page, sequence
	branchPage  = 1
	leafPage    = 2
	bucketEntry = 1
)

var order = binary.NativeEndian // bbolt writes its structs as they lie in memory

// checkPages walks all pages that can be reached, on all processors.
func checkPages(file io.ReaderAt, meta metaPage) error {
	c := pageCheck{file: file, meta: meta, seen: make([]uint64, meta.highWater/64+1), helpers: make(chan struct{}, runtime.GOMAXPROCS(0)-1)}
	return c.tree(meta.root, nil, nil, 0)
}

type pageCheck struct {
	file    io.ReaderAt
	meta    metaPage
	seen    []uint64      // a bit for each page
	helpers chan struct{} // holds an entry for each goroutine that walks beside the first
	free    [][]byte      // buffers of one page, to be used again by the same goroutine
}

const deepest = 64 // pages above one another; a tree of bbolt has at most a dozen

// tree looks at the page id and those below it. Its keys must not be below min, and must be below max; nil is no bound.
func (c *pageCheck) tree(id int64, min, max []byte, depth int) error {
	if depth > deepest {
		return c.bad(id, "it lies too deep")
	}
	page, err := c.read(id)
	if err != nil {
		return err
	}
	defer func() { c.free = append(c.free, page[:c.meta.pageSize]) }()
	p := pageView{id, page}
	if err := c.keys(p, min, max); err != nil {
		return err
	}
	if p.isBranch() {
		return c.children(p, max, depth+1)
	}
	for i := range p.count() {
		if p.flags(i) == bucketEntry {
			if err := c.bucket(p, p.value(i), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// children looks at the pages below a branch, beside one another where a processor is free.
func (c *pageCheck) children(p pageView, max []byte, depth int) error {
	var beside sync.WaitGroup
	errs := make([]error, p.count())
	for i := range p.count() {
		upper := max
		if i+1 < p.count() {
			upper = p.key(i + 1)
		}
		if c.help(&beside, func(c *pageCheck) { errs[i] = c.tree(p.child(i), p.key(i), upper, depth) }) {
			continue
		}
		if errs[i] = c.tree(p.child(i), p.key(i), upper, depth); errs[i] != nil {
			break
		}
	}
	beside.Wait() // they read this page's keys
	return cmp.Or(errs...)
}

// help has another goroutine do it, if there may be one more.
func (c *pageCheck) help(beside *sync.WaitGroup, do func(*pageCheck)) bool {
	select {
	case c.helpers <- struct{}{}:
	default:
		return false
	}
	beside.Go(func() {
		do(&pageCheck{file: c.file, meta: c.meta, seen: c.seen, helpers: c.helpers})
		<-c.helpers
	})
	return true
}

// read gives a page with those that belong to it.
func (c *pageCheck) read(id int64) ([]byte, error) {
	if id < 2 || id >= c.meta.highWater {
		return nil, c.bad(id, "there is no such page")
	}
	var page []byte
	if n := len(c.free); n > 0 {
		page, c.free = c.free[n-1], c.free[:n-1]
	} else {
		page = make([]byte, c.meta.pageSize)
	}
	if _, err := c.file.ReadAt(page, id*c.meta.pageSize); err != nil {
		return nil, err
	}
	more := int64(order.Uint32(page[12:]))
	switch {
	case int64(order.Uint64(page)) != id:
		return nil, c.bad(id, fmt.Sprintf("it says that it is page %d", order.Uint64(page)))
	case id+more >= c.meta.highWater:
		return nil, c.bad(id, "it goes beyond the last page")
	}
	for at := id; at <= id+more; at++ {
		if bit := uint64(1) << (at % 64); atomic.OrUint64(&c.seen[at/64], bit)&bit != 0 {
			return nil, c.bad(at, "it is used twice")
		}
	}
	if more == 0 {
		return page, nil
	}
	all := make([]byte, (more+1)*c.meta.pageSize)
	_, err := c.file.ReadAt(all, id*c.meta.pageSize)
	return all, err
}

// keys checks that the elements lie within the page, and that their keys are in order.
func (c *pageCheck) keys(p pageView, min, max []byte) error {
	if kind := p.kind(); kind != branchPage && kind != leafPage {
		return c.bad(p.id, fmt.Sprintf("it is of no known kind (%#x)", kind))
	}
	if p.isBranch() && p.count() == 0 {
		return c.bad(p.id, "it is a branch without leaves")
	}
	if pageHead+p.count()*elementSize > len(p.bytes) {
		return c.bad(p.id, "it has more elements than room")
	}
	for i := range p.count() {
		switch {
		case !p.fits(i):
			return c.bad(p.id, fmt.Sprintf("element %d goes beyond the page", i))
		case !p.isBranch() && p.flags(i) > bucketEntry:
			return c.bad(p.id, fmt.Sprintf("element %d is of no known kind (%#x)", i, p.flags(i)))
		case i == 0 && min != nil && bytes.Compare(p.key(0), min) < 0, i > 0 && bytes.Compare(p.key(i), p.key(i-1)) <= 0,
			max != nil && bytes.Compare(p.key(i), max) >= 0:
			return c.bad(p.id, fmt.Sprintf("key %d is out of order", i))
		}
	}
	return nil
}

// bucket checks a bucket's own tree, which is a page of its own, or lies in the value.
func (c *pageCheck) bucket(p pageView, value []byte, depth int) error {
	if len(value) < bucketHead {
		return c.bad(p.id, "a bucket is cut off")
	}
	if root := int64(order.Uint64(value)); root != 0 {
		return c.tree(root, nil, nil, depth)
	}
	inner := pageView{p.id, value[bucketHead:]}
	if len(inner.bytes) < pageHead || inner.kind() != leafPage {
		return c.bad(p.id, "a bucket inside it is no leaf")
	}
	if err := c.keys(inner, nil, nil); err != nil {
		return err
	}
	for i := range inner.count() {
		if inner.flags(i) == bucketEntry {
			return c.bad(p.id, "a bucket inside it holds another")
		}
	}
	return nil
}

func (c *pageCheck) bad(id int64, what string) error {
	return fmt.Errorf("%w: page %d: %s", ErrDamaged, id, what)
}

// pageView reads a page. All but the header may be asked for only when the element fits.
type pageView struct {
	id    int64
	bytes []byte
}

func (p pageView) kind() uint16   { return order.Uint16(p.bytes[8:]) }
func (p pageView) count() int     { return int(order.Uint16(p.bytes[10:])) }
func (p pageView) isBranch() bool { return p.kind() == branchPage }

func (p pageView) element(i int) []byte { return p.bytes[pageHead+i*elementSize:] }

// span gives where an element's key begins, how long it is, and how long its value is.
func (p pageView) span(i int) (at, key, value int64) {
	e := p.element(i)
	if p.isBranch() {
		at, key = int64(order.Uint32(e)), int64(order.Uint32(e[4:]))
	} else {
		at, key, value = int64(order.Uint32(e[4:])), int64(order.Uint32(e[8:])), int64(order.Uint32(e[12:]))
	}
	return at + int64(pageHead+i*elementSize), key, value
}

func (p pageView) fits(i int) bool {
	at, key, value := p.span(i)
	return at >= int64(pageHead+p.count()*elementSize) && at+key+value <= int64(len(p.bytes))
}

func (p pageView) key(i int) []byte {
	at, n, _ := p.span(i)
	return p.bytes[at : at+n]
}

func (p pageView) value(i int) []byte {
	at, key, n := p.span(i)
	return p.bytes[at+key : at+key+n]
}

func (p pageView) flags(i int) uint32 { return order.Uint32(p.element(i)) }
func (p pageView) child(i int) int64  { return int64(order.Uint64(p.element(i)[8:])) }
