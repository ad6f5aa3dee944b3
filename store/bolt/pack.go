package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// packer writes records to the log. Those of the chunk that has been begun are not in the bucket yet.
type packer struct {
	bucket *bbolt.Bucket
	cursor *bbolt.Cursor
	begun  []*prepared
	size   int
}

func (l *packer) open(tx *bbolt.Tx) (err error) {
	if l.bucket, err = bucket(tx, logBucket, growing); err != nil {
		return err
	}
	l.cursor = l.bucket.Cursor()
	return nil
}

// release lets go of the transaction.
func (l *packer) release() {
	clear(l.begun)
	*l = packer{begun: l.begun[:0]}
}

// get gives the bytes of a record that is in the log already, or nil.
func (l *packer) get(shard int, t uint64) ([]byte, error) {
	if n := len(l.begun); n > 0 && l.begun[0].Shard == shard && t >= l.begun[0].T && t <= l.begun[n-1].T {
		return l.begun[t-l.begun[0].T].bytes(), nil
	}
	return logged(l.cursor, shard, t)
}

// add adds a record whose place is free.
func (l *packer) add(p *prepared, mem *arena) error {
	if !l.takes(p) {
		if err := l.flush(mem); err != nil {
			return err
		}
	}
	l.begun = append(l.begun, p)
	l.size += len(p.bytes()) + 2
	return nil
}

// takes tells whether the record belongs into the chunk that has been begun.
func (l *packer) takes(p *prepared) bool {
	if len(l.begun) == 0 {
		return true
	}
	last := l.begun[len(l.begun)-1]
	return p.Shard == last.Shard && p.T == last.T+1 && l.size+len(p.bytes())+2 <= maxChunk
}

// flush writes the chunk that has been begun.
func (l *packer) flush(mem *arena) error {
	if len(l.begun) == 0 {
		return nil
	}
	key := logKey(l.begun[0].Shard, l.begun[0].T)
	err := l.bucket.Put(key[:], l.chunk(mem))
	clear(l.begun)
	l.begun, l.size = l.begun[:0], 0
	return err
}

func (l *packer) chunk(mem *arena) []byte {
	if len(l.begun) == 1 {
		return l.begun[0].alone
	}
	chunk := mem.take(l.size)
	for _, p := range l.begun {
		chunk = append(chunk, p.bytes()...)
	}
	end := 0
	for _, p := range l.begun[:len(l.begun)-1] {
		end += len(p.bytes())
		chunk = binary.LittleEndian.AppendUint16(chunk, uint16(end))
	}
	return binary.LittleEndian.AppendUint16(chunk, uint16(len(l.begun)))
}

// appendTail makes a chunk of a single record's bytes.
func appendTail(dst []byte) []byte { return binary.LittleEndian.AppendUint16(dst, 1) }
