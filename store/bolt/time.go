package bolt

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// place is where an event stands in the order of a query.
type place struct {
	time  int64
	shard int
	t     uint64
	index int
}

func (p place) compare(o place) int {
	if p.time != o.time {
		return cmp.Compare(p.time, o.time)
	}
	return cmp.Or(cmp.Compare(p.shard, o.shard), cmp.Compare(p.t, o.t), cmp.Compare(p.index, o.index))
}

// typed is an event of a batch on its way into the index.
type typed struct {
	number uint64
	place
}

func (e typed) compare(o typed) int {
	if e.number != o.number {
		return cmp.Compare(e.number, o.number)
	}
	return e.place.compare(o.place)
}

// timeIndex is the index by event type and time while a batch is written. A type goes by a number, given when it is first seen.
type timeIndex struct {
	types, times *bbolt.Bucket
	numbers      map[string]uint64 // of this batch
	entries      []typed
	block        blockWriter
}

func (x *timeIndex) open(tx *bbolt.Tx) (err error) {
	x.entries = x.entries[:0]
	if x.numbers == nil {
		x.numbers = map[string]uint64{}
	}
	if x.types, err = bucket(tx, typesBucket, random); err != nil {
		return err
	}
	x.times, err = bucket(tx, timeBucket, growing)
	return err
}

// release lets go of the transaction.
func (x *timeIndex) release() {
	x.types, x.times = nil, nil
	clear(x.numbers)
	x.block.release()
}

func (x *timeIndex) add(r *store.Record, i int) error {
	number, err := x.number(r.Events[i].Type)
	if err != nil {
		return err
	}
	x.entries = append(x.entries, typed{number, place{r.Time, r.Shard, r.T, i}})
	return nil
}

// number is the type's number, a new one if need be.
func (x *timeIndex) number(name string) (uint64, error) {
	if n, ok := x.numbers[name]; ok {
		return n, nil
	}
	key := typeKey(name)
	n, found := typeNumber(x.types, key)
	if !found {
		var err error
		if n, err = x.types.NextSequence(); err != nil {
			return 0, err
		}
		if err := x.types.Put(key, binary.AppendUvarint(nil, n)); err != nil {
			return 0, err
		}
	}
	x.numbers[name] = n
	return n, nil
}

func typeNumber(types *bbolt.Bucket, key []byte) (uint64, bool) {
	n, size := binary.Uvarint(types.Get(key))
	return n, size > 0
}

const longestType = 1024

// typeKey is the type behind a 1, or its digest behind a 0 when it is long: bbolt's keys are bounded.
func typeKey(name string) []byte {
	if len(name) <= longestType {
		return append([]byte{1}, name...)
	}
	sum := sha256.Sum256([]byte(name))
	return append([]byte{0}, sum[:]...)
}

// flush adds the batch to its blocks, in key order.
func (x *timeIndex) flush(mem *arena) error {
	if len(x.entries) == 0 {
		return nil
	}
	slices.SortFunc(x.entries, typed.compare)
	c := x.times.Cursor()
	for rest := x.entries; len(rest) > 0; {
		if err := x.block.find(c, rest[0]); err != nil {
			return err
		}
		n := x.block.take(rest)
		if err := x.block.write(x.times, mem); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// timeKey appends number, time, shard, t and index, such that the order of the bytes is the order of the numbers. A
// negative index comes before all others.
func timeKey(dst []byte, number uint64, p place) []byte {
	dst = appendOrdered(dst, number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.time)^1<<63) // negative times first
	dst = appendOrdered(dst, uint64(p.shard))
	dst = appendOrdered(dst, p.t)
	if p.index < 0 {
		return dst
	}
	return appendOrdered(dst, uint64(p.index))
}

// parseTimeKey reads what stands behind the type's number.
func parseTimeKey(key []byte) (p place, err error) {
	if len(key) < 8 {
		return p, badKey(key)
	}
	p.time = int64(binary.BigEndian.Uint64(key) ^ 1<<63)
	shard, rest, ok := ordered(key[8:])
	t, rest, ok2 := ordered(rest)
	index, rest, ok3 := ordered(rest)
	if !ok || !ok2 || !ok3 || len(rest) > 0 {
		return p, badKey(key)
	}
	p.shard, p.t, p.index = int(shard), t, int(index)
	return p, nil
}

func badKey(key []byte) error {
	return fmt.Errorf("key %x in the index by time: %w", key, errDamaged)
}

// appendOrdered appends how many bytes v has, and then these, the highest first: in byte order greater numbers come later.
func appendOrdered(dst []byte, v uint64) []byte {
	n := width(v)
	return appendWide(append(dst, byte(n)), v, n)
}

func ordered(data []byte) (v uint64, rest []byte, ok bool) {
	if len(data) == 0 || data[0] > 8 || len(data) < 1+int(data[0]) {
		return 0, nil, false
	}
	n := int(data[0])
	return number(data[1 : 1+n]), data[1+n:], true
}
