package bolt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"
)

// location says where a commit is in the log.
type location struct {
	shard uint32
	t     uint64
}

// entry says where the commit is whose id, or whose event's id, has that prefix.
type entry struct {
	prefix uint64
	location
}

func (e entry) compare(o entry) int {
	if e.prefix != o.prefix {
		return cmp.Compare(e.prefix, o.prefix)
	}
	return cmp.Or(cmp.Compare(e.shard, o.shard), cmp.Compare(e.t, o.t))
}

// A chunk is a piece of a sorted run of entries: one byte each for how many bytes a shard and a t take in it, and then the
// entries: prefix (8 bytes), shard, t.
const chunkHead = 2

// shape is how many bytes a shard and a t take.
type shape struct{ wide, long int }

// shapeOf is one that suits all entries.
func shapeOf(entries []entry) shape {
	var shards, ts uint64
	for i := range entries {
		shards, ts = shards|uint64(entries[i].shard), ts|entries[i].t
	}
	return shape{width(shards), width(ts)}
}

func (s shape) size() int { return 8 + s.wide + s.long }

// append adds the chunk of sorted entries to dst.
func (s shape) append(dst []byte, entries []entry) []byte {
	dst = append(dst, byte(s.wide), byte(s.long))
	for i := range entries {
		dst = binary.BigEndian.AppendUint64(dst, entries[i].prefix)
		dst = appendWide(dst, uint64(entries[i].shard), s.wide)
		dst = appendWide(dst, entries[i].t, s.long)
	}
	return dst
}

func width(v uint64) int { return (bits.Len64(v) + 7) / 8 }

func appendWide(dst []byte, v uint64, n int) []byte {
	for n--; n >= 0; n-- {
		dst = append(dst, byte(v>>(8*n)))
	}
	return dst
}

// chunk reads entries in place.
type chunk struct {
	data []byte // behind the head
	shape
}

func openChunk(data []byte) (chunk, error) {
	if len(data) < chunkHead || data[0] > 4 || data[1] > 8 {
		return chunk{}, fmt.Errorf("a chunk of an index by id has a bad head: %w", errDamaged)
	}
	c := chunk{data: data[chunkHead:], shape: shape{wide: int(data[0]), long: int(data[1])}}
	if len(c.data)%c.size() != 0 {
		return chunk{}, fmt.Errorf("a chunk of an index by id is cut off: %w", errDamaged)
	}
	return c, nil
}

func (c chunk) len() int { return len(c.data) / c.size() }

func (c chunk) prefix(i int) uint64 { return binary.BigEndian.Uint64(c.data[i*c.size():]) }

func (c chunk) location(i int) location {
	rest := c.data[i*c.size()+8 : (i+1)*c.size()]
	return location{shard: uint32(number(rest[:c.wide])), t: number(rest[c.wide:])}
}

func number(data []byte) (v uint64) {
	for _, b := range data {
		v = v<<8 | uint64(b)
	}
	return v
}

func (c chunk) entry(i int) entry { return entry{prefix: c.prefix(i), location: c.location(i)} }

// find adds the locations that stand under the id's prefix to hits.
func (c chunk) find(hits []hit, id wanted) []hit {
	n := c.len()
	for i := sort.Search(n, func(i int) bool { return c.prefix(i) >= id.prefix }); i < n && c.prefix(i) == id.prefix; i++ {
		hits = append(hits, hit{id.i, c.location(i)})
	}
	return hits
}
