package bolt

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// The indexes by event id and by command id.
//
// Event ids are random, and command ids may be. A b-tree led by them would dirty a page for nearly every one. Instead the
// ids of each batch become a sorted run. Runs are merged by eights into longer ones, so that there are about seven for
// each power of eight, and a look-up searches one chunk of each. A merge is spread over the writes that follow: each moves
// a bounded number of entries of each merge under way, from the front of its sources to the end of its target, so that
// no write waits for a long merge. An entry is in exactly one run at any time, in the transaction that writes its record
// and ever after.
//
// An entry has only 8 bytes made of the id, its prefix, and says which commit to look at. Each run is listed with the
// least and the greatest prefix in it, and a look-up passes it by when the id is outside.

// idKind is one of the indexes: where it is, and how it makes a prefix of an id.
type idKind struct {
	chunks []byte // bucket: run, prefix of the first entry -> a chunk
	list   []byte // key in runsBucket
	prefix func(uuid.UUID) uint64
}

var (
	byEvent   = idKind{eventBucket, []byte("event"), eventPrefix}
	byCommand = idKind{commandBucket, []byte("command"), commandPrefix}
)

// eventPrefix is the front of the id, which is a digest.
func eventPrefix(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// commandPrefix spreads ids that differ anywhere. Ids of version 7 keep the order of their times to 256 milliseconds: a new one is
// then beyond all runs but the youngest.
func commandPrefix(id uuid.UUID) uint64 {
	front, back := binary.BigEndian.Uint64(id[:]), binary.BigEndian.Uint64(id[8:])
	spread := mix(mix(front) ^ back)
	if id.Version() == 7 {
		return front&^(1<<24-1) | spread>>40
	}
	return spread
}

// mix takes every number to another one, in which each bit depends on all bits (the end of MurmurHash3).
func mix(v uint64) uint64 {
	v = (v ^ v>>33) * 0xff51afd7ed558ccd
	v = (v ^ v>>33) * 0xc4ceb9fe1a85ec53
	return v ^ v>>33
}

// idIndex is an index while a batch is written.
type idIndex struct {
	idKind
	runs    runs
	chunks  *bbolt.Bucket
	list    *bbolt.Bucket
	moves   []move
	entries []entry
}

// chunkBytes lets two chunks fill a leaf of one page.
const chunkBytes = 1900

// effort is how many entries each merge moves with a batch of n ids. It must be well above n, for merges to end before
// the next ones are due.
func effort(n int) int { return 4*n + 512 }

// open reads everything that adding n ids takes.
func (x *idIndex) open(tx *bbolt.Tx, n int) (err error) {
	x.entries = x.entries[:0]
	if x.list, err = bucket(tx, runsBucket, random); err != nil {
		return err
	}
	if x.chunks, err = bucket(tx, x.idKind.chunks, growing); err != nil {
		return err
	}
	if err = x.runs.decode(x.list.Get(x.idKind.list)); err != nil {
		return err
	}
	targets := x.runs.targets()
	x.moves = slices.Grow(x.moves[:0], len(targets))[:len(targets)]
	for i, target := range targets {
		if err := x.moves[i].read(x.chunks, target, x.runs.sources(target), effort(n)); err != nil {
			return err
		}
	}
	return nil
}

// release lets go of the transaction. What bbolt gave must not be kept: the memory may be unmapped.
func (x *idIndex) release() {
	x.chunks, x.list = nil, nil
	for i := range x.moves {
		x.moves[i].release()
	}
}

func (x *idIndex) add(id uuid.UUID, shard int, t uint64) {
	x.entries = append(x.entries, entry{x.prefix(id), location{uint32(shard), t}})
}

// flush makes a run of what was added, and carries on with the merges.
func (x *idIndex) flush(mem *arena) error {
	if len(x.entries) == 0 {
		return nil
	}
	for i := range x.moves {
		if err := x.apply(&x.moves[i], mem); err != nil {
			return err
		}
	}
	slices.SortFunc(x.entries, entry.compare)
	number := x.runs.add(levelOf(len(x.entries)))
	if err := x.extend(number, x.entries, mem); err != nil {
		return err
	}
	x.runs.plan()
	return x.list.Put(x.idKind.list, x.runs.append(mem.take(x.runs.size())))
}

func (x *idIndex) apply(m *move, mem *arena) error {
	for i := range m.readers {
		if err := x.cut(&m.readers[i], mem); err != nil {
			return err
		}
	}
	return x.extend(m.target, m.entries, mem)
}

// cut takes away from a source what was read of it.
func (x *idIndex) cut(r *reader, mem *arena) error {
	for _, key := range r.used {
		if err := x.chunks.Delete(key); err != nil {
			return err
		}
	}
	if r.done {
		x.runs.remove(r.number)
		return nil
	}
	if r.next == 0 {
		return nil
	}
	return writeChunks(x.chunks, r.number, r.rest(), mem)
}

// extend adds entries to the end of a run.
func (x *idIndex) extend(number uint64, entries []entry, mem *arena) error {
	if len(entries) == 0 {
		return nil
	}
	x.runs.widen(number, entries[0].prefix, entries[len(entries)-1].prefix)
	return writeChunks(x.chunks, number, entries, mem)
}

// chunkKey is run number, prefix of the first entry.
func chunkKey(number, prefix uint64) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:], number)
	binary.BigEndian.PutUint64(key[8:], prefix)
	return key
}

// writeChunks adds sorted entries to a run, in chunks of about the same length. Entries with one prefix stay in one chunk.
func writeChunks(chunks *bbolt.Bucket, number uint64, entries []entry, mem *arena) error {
	shape := shapeOf(entries)
	most := chunkBytes / shape.size()
	for pieces := (len(entries) + most - 1) / most; len(entries) > 0; pieces-- {
		n := (len(entries) + max(pieces, 1) - 1) / max(pieces, 1)
		for n < len(entries) && entries[n].prefix == entries[n-1].prefix {
			n++
		}
		key := chunkKey(number, entries[0].prefix)
		if err := chunks.Put(key[:], shape.append(mem.take(chunkHead+n*shape.size()), entries[:n])); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// wanted is an id that is looked for: its prefix, and its place in the caller's list.
type wanted struct {
	prefix uint64
	i      int
}

// hit says that a commit may belong to the id at a place in the caller's list.
type hit struct {
	i int
	location
}

// find adds to hits what the index has for ids in the order of their prefixes.
func find(hits []hit, runs *runs, chunks *bbolt.Bucket, ids []wanted) ([]hit, error) {
	var err error
	c := chunks.Cursor()
	for i := len(runs.all) - 1; i >= 0 && err == nil; i-- {
		hits, err = findInRun(hits, c, &runs.all[i], ids)
	}
	return hits, err
}

func (x *idIndex) find(hits []hit, ids []wanted) ([]hit, error) {
	if len(ids) == 0 {
		return hits, nil
	}
	return find(hits, &x.runs, x.chunks, ids)
}

// findInRun looks at the chunk for each id, and at the same one again as long as it reaches.
func findInRun(hits []hit, c *bbolt.Cursor, r *run, ids []wanted) ([]hit, error) {
	from, _ := slices.BinarySearchFunc(ids, r.least, func(w wanted, least uint64) int { return cmp.Compare(w.prefix, least) })
	var open chunk
	for _, id := range ids[from:] {
		if id.prefix > r.greatest {
			break
		}
		if n := open.len(); n == 0 || id.prefix > open.prefix(n-1) {
			var err error
			if open, err = seekChunk(c, r.number, id.prefix); err != nil {
				return hits, err
			}
		}
		hits = open.find(hits, id)
	}
	return hits, nil
}

// seekChunk gives the chunk of the run that holds prefix if one does.
func seekChunk(c *bbolt.Cursor, number, prefix uint64) (chunk, error) {
	want := chunkKey(number, prefix)
	key, value := seekBack(c, want[:8], want[:])
	if key == nil {
		return chunk{}, nil
	}
	return openChunk(value)
}

// lookUp gives the commits that may belong to the id.
func (k idKind) lookUp(tx *bbolt.Tx, id uuid.UUID) ([]hit, error) {
	list, chunks := tx.Bucket(runsBucket), tx.Bucket(k.chunks)
	if list == nil || chunks == nil {
		return nil, nil
	}
	var r runs
	if err := r.decode(list.Get(k.list)); err != nil {
		return nil, err
	}
	return find(nil, &r, chunks, []wanted{{prefix: k.prefix(id)}})
}
