package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"go.etcd.io/bbolt"
)

// The index by type and time is made of blocks: places of one type, in order. A block's key is the type's number and its
// first place; its value has the others, each as the difference from the one before. Blocks do not overlap: all that
// lies between a block's first place and the next block's belongs into it. As times grow, a batch fills up the last
// block of its types and adds new ones. Where times go back, the places are merged into the blocks that are there.

// maxBlock lets four blocks fill a leaf of one page.
const maxBlock = 900

// longestPlace is how many bytes appendPlace adds at most.
const longestPlace = 4 * binary.MaxVarintLen64

func appendPlace(dst []byte, before, p place) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.time)-uint64(before.time))
	dst = binary.AppendVarint(dst, int64(p.shard-before.shard))
	dst = binary.AppendVarint(dst, int64(p.t-before.t))
	return binary.AppendUvarint(dst, uint64(p.index))
}

// places goes through a block.
type places struct {
	at   place
	rest numbers
}

func openBlock(key, value []byte) (b places, err error) {
	b.at, err = parseTimeKey(key)
	b.rest.rest = value
	return b, err
}

// next goes to the next place; ok is false behind the last one.
func (b *places) next() (ok bool, err error) {
	if len(b.rest.rest) == 0 {
		return false, nil
	}
	p := b.at
	p.time = int64(uint64(p.time) + b.rest.next())
	p.shard += int(b.rest.signed())
	p.t += uint64(b.rest.signed())
	index := b.rest.next()
	p.index = int(min(index, math.MaxInt32))
	if b.rest.bad || index > math.MaxInt32 || p.compare(b.at) <= 0 {
		return false, fmt.Errorf("a block of the index by time is cut off or out of order: %w", errDamaged)
	}
	b.at = p
	return true, nil
}

// blockWriter adds places to one block after the other.
type blockWriter struct {
	number uint64
	places []place // of the block
	end    place   // the first place that belongs into the next block
	last   bool    // there is no next block
	grew   bool    // all that is new stands behind what is old
	merged []place
	ends   []int
	key    []byte
	bounds []byte
}

func (b *blockWriter) release() { b.places = b.places[:0] }

// find goes to the block that e belongs into. It is empty when e comes before all blocks of its type.
func (b *blockWriter) find(c *bbolt.Cursor, e typed) error {
	b.number, b.places, b.last = e.number, b.places[:0], true
	b.bounds = appendOrdered(b.bounds[:0], e.number)
	b.key = timeKey(b.key[:0], e.number, e.place)
	key, value := seekBack(c, b.bounds, b.key)
	if key != nil && bytes.Compare(key, b.key) <= 0 {
		if err := b.read(key[len(b.bounds):], value); err != nil {
			return err
		}
		key, _ = c.Next()
	}
	if !bytes.HasPrefix(key, b.bounds) {
		return nil
	}
	var err error
	b.last = false
	b.end, err = parseTimeKey(key[len(b.bounds):])
	return err
}

func (b *blockWriter) read(key, value []byte) error {
	old, err := openBlock(key, value)
	for ok := err == nil; ok; ok, err = old.next() {
		b.places = append(b.places, old.at)
	}
	return err
}

// take merges those of entries that belong into the block, and tells how many these are.
func (b *blockWriter) take(entries []typed) (n int) {
	b.merged = b.merged[:0]
	old := b.places
	b.grew = len(old) == 0 || old[len(old)-1].compare(entries[0].place) < 0
	for n < len(entries) && entries[n].number == b.number && (b.last || entries[n].place.compare(b.end) < 0) {
		for len(old) > 0 && old[0].compare(entries[n].place) < 0 {
			b.merged, old = append(b.merged, old[0]), old[1:]
		}
		b.merged = append(b.merged, entries[n].place)
		n++
	}
	b.merged = append(b.merged, old...)
	return n
}

// write puts what was merged as one or more blocks. The first of them takes the place of the one that was found.
func (b *blockWriter) write(times *bbolt.Bucket, mem *arena) error {
	value := b.encode(mem)
	for i, j := 0, 0; i < len(b.merged); i = j {
		limit := b.limit(len(value))
		for j = i + 1; j < len(b.merged) && b.ends[j]-b.ends[i] <= limit; j++ {
		}
		b.key = timeKey(b.key[:0], b.number, b.merged[i])
		from, to := b.ends[i], b.ends[j-1]
		if err := times.Put(b.key, value[from:to:to]); err != nil {
			return err
		}
	}
	return nil
}

// encode writes each place as the difference from the one before, and notes in ends where that ends.
func (b *blockWriter) encode(mem *arena) []byte {
	most := len(b.merged) * longestPlace
	value := mem.take(most)
	b.ends = b.ends[:0]
	for i, p := range b.merged {
		if i > 0 {
			value = appendPlace(value, b.merged[i-1], p)
		}
		b.ends = append(b.ends, len(value))
	}
	mem.giveBack(most, len(value))
	return value
}

// limit is how long a block may be: as long as possible where times grow, and else all about the same, with room for more.
func (b *blockWriter) limit(total int) int {
	if b.grew || total <= maxBlock {
		return maxBlock
	}
	pieces := (total + maxBlock - 1) / maxBlock
	return (total + pieces - 1) / pieces
}
