package bolt

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
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
	return cmp.Or(cmp.Compare(p.time, o.time), cmp.Compare(p.shard, o.shard), cmp.Compare(p.t, o.t), cmp.Compare(p.index, o.index))
}

// typed is an event of a batch on its way into the index.
type typed struct {
	number uint64
	place
}

// timeIndex is the index by event type and time. A type goes by a number, given when it is first seen. Under the key
// (number, time, shard, t) stand the places in the commit of its events of that type.
type timeIndex struct {
	types, times *bbolt.Bucket
	numbers      map[string]uint64 // of this batch
	entries      []typed
}

func openTimeIndex(tx *bbolt.Tx) (x *timeIndex, err error) {
	x = &timeIndex{numbers: map[string]uint64{}}
	if x.types, err = bucket(tx, typesBucket, random); err != nil {
		return nil, err
	}
	x.times, err = bucket(tx, timeBucket, growing)
	return x, err
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

// flush writes the batch in key order.
func (x *timeIndex) flush() error {
	slices.SortFunc(x.entries, func(a, b typed) int {
		return cmp.Or(cmp.Compare(a.number, b.number), a.place.compare(b.place))
	})
	places := make([]byte, 0, 2*len(x.entries)) // bbolt keeps values until the commit
	var key []byte
	for i := 0; i < len(x.entries); {
		e, start := x.entries[i], len(places)
		for ; i < len(x.entries) && x.entries[i].commit() == e.commit(); i++ {
			places = binary.AppendUvarint(places, uint64(x.entries[i].index))
		}
		key = timeKey(key[:0], e.number, e.place)
		if err := x.times.Put(key, places[start:len(places):len(places)]); err != nil {
			return err
		}
	}
	return nil
}

// commit is the same for all events that share a key.
func (e typed) commit() typed {
	e.index = 0
	return e
}

// timeKey appends number, time, shard and t, such that the order of the bytes is the order of the numbers.
func timeKey(dst []byte, number uint64, p place) []byte {
	dst = appendOrdered(dst, number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.time)^1<<63) // negative times first
	dst = appendOrdered(dst, uint64(p.shard))
	return appendOrdered(dst, p.t)
}

// parseTimeKey reads what stands behind the type's number.
func parseTimeKey(key []byte) (p place, err error) {
	if len(key) < 8 {
		return p, badKey(key)
	}
	p.time = int64(binary.BigEndian.Uint64(key) ^ 1<<63)
	shard, rest, ok := ordered(key[8:])
	t, rest, ok2 := ordered(rest)
	if !ok || !ok2 || len(rest) > 0 {
		return p, badKey(key)
	}
	p.shard, p.t = int(shard), t
	return p, nil
}

func badKey(key []byte) error {
	return fmt.Errorf("key %x in the index by time: %w", key, errDamaged)
}

// appendOrdered appends how many bytes v has, and then these, the highest first: in byte order greater numbers come later.
func appendOrdered(dst []byte, v uint64) []byte {
	n := (bits.Len64(v) + 7) / 8
	dst = append(dst, byte(n))
	for n--; n >= 0; n-- {
		dst = append(dst, byte(v>>(8*n)))
	}
	return dst
}

func ordered(data []byte) (v uint64, rest []byte, ok bool) {
	if len(data) == 0 || data[0] > 8 || len(data) < 1+int(data[0]) {
		return 0, nil, false
	}
	n := int(data[0])
	for _, b := range data[1 : 1+n] {
		v = v<<8 | uint64(b)
	}
	return v, data[1+n:], true
}
