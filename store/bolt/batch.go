package bolt

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
)

// prepared is a record that can be written: nothing about it can fail any more.
type prepared struct {
	*store.Record
	alone   []byte // its bytes, as a chunk of its own
	known   bool
	free    bool // its t is beyond the shard's last one
	twin    bool // the batch may hold its command twice
	written bool
}

func (p *prepared) bytes() []byte { return p.alone[:len(p.alone)-chunkTail] }

type batch []prepared

// prepare adds records to b. It finds all faults before anything is written.
func (s *Store) prepare(b batch, mem *arena, records []store.Record, known bool) (batch, error) {
	for i := range records {
		r := &records[i]
		if err := s.check(r); err != nil {
			return b, err
		}
		p := prepared{Record: r, alone: encode(mem, r), known: known}
		if n := len(p.bytes()); n > maxRecord {
			return b, fmt.Errorf("store: command %s has %d bytes with its events; the limit is %d", r.Command, n, maxRecord)
		}
		b = append(b, p)
	}
	return b, nil
}

func encode(mem *arena, r *store.Record) []byte {
	most := longest(r)
	data := appendTail(r.Append(mem.take(most)))
	mem.giveBack(most, len(data))
	return data
}

// longest is how many bytes encode gives at most.
func longest(r *store.Record) int {
	const number = binary.MaxVarintLen64
	n := 128 + 8*number + len(r.CommandType) + len(r.Key) + len(r.Code) + len(r.Remarks)
	for i := range r.Trace {
		n += 2*number + len(r.Trace[i].Key) + len(r.Trace[i].Value)
	}
	for i := range r.Events {
		n += 3*number + len(r.Events[i].Segment) + len(r.Events[i].Type) + len(r.Events[i].Data)
	}
	return n
}

func (s *Store) check(r *store.Record) error {
	if r.T == 0 || r.T > math.MaxInt64 {
		return fmt.Errorf("store: command %s has t %d; the first t of a log is 1, and the greatest is %d", r.Command, r.T, math.MaxInt64)
	}
	if r.Prev != nil && len(r.Prev) != 32 {
		return fmt.Errorf("store: command %s has a digest of %d bytes in Prev; it must have 32, or be nil", r.Command, len(r.Prev))
	}
	_, err := s.file(r.Shard)
	return err
}

// of is the part of a batch that belongs into file f.
func (b batch) of(s *Store, f *boltfile.File) batch {
	if len(s.files) == 1 {
		return b
	}
	var part batch
	for i := range b {
		if s.shards[b[i].Shard] == f {
			part = append(part, b[i])
		}
	}
	return part
}

func (b batch) events() (n int) {
	for i := range b {
		n += len(b[i].Events)
	}
	return n
}
