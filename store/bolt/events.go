package bolt

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// The index by event id.
//
// Event ids are random. A b-tree led by them would dirty a page for nearly every event. Instead the ids of each batch
// become a sorted run. Runs are merged by eights into longer ones, so that there are about seven for each power of eight,
// and a look-up searches one chunk of each. A merge is spread over the writes that follow: each moves a bounded number of
// entries of each merge under way, from the front of its sources to the end of its target, so that no write waits for a
// long merge. An entry is in exactly one run at any time, in the transaction that writes its event and ever after.
//
// An entry has only the first 8 bytes of the id and says which commit to look at.

// eventIndex is the index while a batch is written.
type eventIndex struct {
	runs    runs
	chunks  *bbolt.Bucket
	list    *bbolt.Bucket
	moves   []move
	entries []entry
}

const chunkEntries = 64

// effort is how many entries each merge moves with a batch of n events. It must be well above n, for merges to end before
// the next ones are due.
func effort(n int) int { return 4*n + 512 }

// openEventIndex reads everything that adding n events takes.
func openEventIndex(tx *bbolt.Tx, n int) (x *eventIndex, err error) {
	x = &eventIndex{entries: make([]entry, 0, n)}
	if x.list, err = bucket(tx, runsBucket, random); err != nil {
		return nil, err
	}
	if x.chunks, err = bucket(tx, eventBucket, growing); err != nil {
		return nil, err
	}
	if err = x.runs.decode(x.list.Get(runsKey)); err != nil {
		return nil, err
	}
	for _, target := range x.runs.targets() {
		m, err := readMove(x.chunks, target, x.runs.sources(target), effort(n))
		if err != nil {
			return nil, err
		}
		x.moves = append(x.moves, m)
	}
	return x, nil
}

func (x *eventIndex) add(id uuid.UUID, shard int, t uint64) {
	x.entries = append(x.entries, entry{prefixOf(id), location{uint32(shard), t}})
}

// flush makes a run of what was added, and carries on with the merges.
func (x *eventIndex) flush() error {
	if len(x.entries) == 0 {
		return nil
	}
	for i := range x.moves {
		if err := x.apply(&x.moves[i]); err != nil {
			return err
		}
	}
	slices.SortFunc(x.entries, entry.compare)
	if err := writeChunks(x.chunks, x.runs.add(levelOf(len(x.entries))), x.entries); err != nil {
		return err
	}
	x.runs.plan()
	return x.list.Put(runsKey, x.runs.append(nil))
}

func (x *eventIndex) apply(m *move) error {
	for _, number := range m.ended {
		x.runs.remove(number)
	}
	return m.write(x.chunks)
}

// chunkKey is run number, prefix of the first entry.
func chunkKey(number, prefix uint64) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:], number)
	binary.BigEndian.PutUint64(key[8:], prefix)
	return key
}

// writeChunks adds sorted entries to a run, in chunks of about the same length. Entries with one prefix stay in one chunk.
func writeChunks(chunks *bbolt.Bucket, number uint64, entries []entry) error {
	pieces := (len(entries) + chunkEntries - 1) / chunkEntries
	for ; len(entries) > 0; pieces-- {
		n := (len(entries) + max(pieces, 1) - 1) / max(pieces, 1)
		for n < len(entries) && entries[n].prefix == entries[n-1].prefix {
			n++
		}
		key := chunkKey(number, entries[0].prefix)
		if err := chunks.Put(key[:], appendChunk(nil, entries[:n])); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// lookUp gives the commits that may hold the event.
func lookUp(tx *bbolt.Tx, id uuid.UUID) (at []location, err error) {
	list, chunks := tx.Bucket(runsBucket), tx.Bucket(eventBucket)
	if list == nil || chunks == nil {
		return nil, nil
	}
	var r runs
	if err := r.decode(list.Get(runsKey)); err != nil {
		return nil, err
	}
	c := chunks.Cursor()
	for i := len(r.all) - 1; i >= 0 && err == nil; i-- {
		at, err = findInRun(c, at, r.all[i].number, prefixOf(id))
	}
	return at, err
}

// findInRun looks at the last chunk of the run that does not begin behind prefix.
func findInRun(c *bbolt.Cursor, at []location, number, prefix uint64) ([]location, error) {
	want := chunkKey(number, prefix)
	key, value := c.Seek(want[:])
	if !bytes.Equal(key, want[:]) {
		if key == nil {
			key, value = c.Last()
		} else {
			key, value = c.Prev()
		}
	}
	if !bytes.HasPrefix(key, want[:8]) {
		return at, nil
	}
	chunk, err := openChunk(value)
	if err != nil {
		return at, err
	}
	return chunk.find(at, prefix), nil
}
