package bolt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"

	"github.com/google/uuid"
)

// location says where a commit is in the log.
type location struct {
	shard uint32
	t     uint64
}

// entry says where the commit is whose event has an id that begins with prefix.
type entry struct {
	prefix uint64
	location
}

func (e entry) compare(o entry) int {
	return cmp.Or(cmp.Compare(e.prefix, o.prefix), cmp.Compare(e.shard, o.shard), cmp.Compare(e.t, o.t))
}

func prefixOf(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// A chunk is a piece of a sorted run of entries: one byte each for how many bytes a shard and a t take in it, and then the
// entries: prefix (8 bytes), shard, t.
const chunkHead = 2

// appendChunk adds the bytes of sorted entries to dst.
func appendChunk(dst []byte, entries []entry) []byte {
	var shards, ts uint64
	for _, e := range entries {
		shards, ts = shards|uint64(e.shard), ts|e.t
	}
	wide, long := width(shards), width(ts)
	dst = append(dst, byte(wide), byte(long))
	for _, e := range entries {
		dst = binary.BigEndian.AppendUint64(dst, e.prefix)
		dst = appendWide(dst, uint64(e.shard), wide)
		dst = appendWide(dst, e.t, long)
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
	data       []byte // behind the head
	wide, long int
}

func openChunk(data []byte) (chunk, error) {
	if len(data) < chunkHead || data[0] > 4 || data[1] > 8 {
		return chunk{}, fmt.Errorf("a chunk of the index by event id has a bad head: %w", errDamaged)
	}
	c := chunk{data: data[chunkHead:], wide: int(data[0]), long: int(data[1])}
	if len(c.data)%c.size() != 0 {
		return chunk{}, fmt.Errorf("a chunk of the index by event id is cut off: %w", errDamaged)
	}
	return c, nil
}

func (c chunk) size() int { return 8 + c.wide + c.long }

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

// find adds the locations that stand under prefix to dst.
func (c chunk) find(dst []location, prefix uint64) []location {
	n := c.len()
	for i := sort.Search(n, func(i int) bool { return c.prefix(i) >= prefix }); i < n && c.prefix(i) == prefix; i++ {
		dst = append(dst, c.location(i))
	}
	return dst
}
