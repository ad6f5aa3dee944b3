package dynamo

import (
	"context"
	"crypto/sha256"
	enc "encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// The log of a shard is cut into buckets of so many t, each a partition of its own. A bucket holds runs: items with the lines
// of commits that follow one another.
const (
	bucketSize = 1024
	runLines   = 256
	runBytes   = 96 << 10
	maxLine    = maxItem - 256 // an item with one line has less than that beside it
)

type bucket struct {
	shard  int
	number uint64
}

func bucketAt(shard int, t uint64) bucket { return bucket{shard, (t - 1) / bucketSize} }

func (b bucket) first() uint64 { return b.number*bucketSize + 1 }
func (b bucket) last() uint64 {
	if b.first() > math.MaxUint64-bucketSize {
		return math.MaxUint64
	}
	return b.first() + bucketSize - 1
}

func (b bucket) id() string { return bucketsID(b.shard) + ":" + strconv.FormatUint(b.number, 10) }

// bucketsID is the partition that lists a shard's buckets.
func bucketsID(shard int) string { return "log:" + strconv.Itoa(shard) }

// digest tells a record from any other.
type digest [16]byte

func digestOf(recordBytes []byte) digest {
	sum := sha256.Sum256(recordBytes)
	return digest(sum[:16])
}

// line is a commit in the log: its record without what the events' items hold.
type line struct {
	record store.Record // its events lack type and data until they are filled in
	digest digest       // of the whole record
	size   int          // of the payloads together
}

// lineMaker makes lines, and keeps the room for it.
type lineMaker struct {
	bytes  []byte
	events []store.Event
}

// line gives the digest of a record and the bytes of its line: payload size, digest, length of the rest, and the rest, which
// is the record without types and payloads.
func (m *lineMaker) line(r *store.Record) (digest, []byte) {
	m.bytes = r.Append(m.bytes[:0])
	d := digestOf(m.bytes)
	bare, size := *r, 0
	m.events = m.events[:0]
	for i := range r.Events {
		m.events = append(m.events, store.Event{Segment: r.Events[i].Segment})
		size += len(r.Events[i].Data)
	}
	bare.Events = m.events
	m.bytes = bare.Append(m.bytes[:0])
	dst := make([]byte, 0, len(m.bytes)+len(d)+2*enc.MaxVarintLen64)
	dst = enc.AppendUvarint(dst, uint64(size))
	dst = append(dst, d[:]...)
	dst = enc.AppendUvarint(dst, uint64(len(m.bytes)))
	return d, append(dst, m.bytes...)
}

// run is one item of the log.
type run struct {
	first uint64
	lines []line
}

// end is the last t that the run holds.
func (r *run) end() uint64 { return r.first + uint64(len(r.lines)) - 1 }

func runItem(b bucket, first uint64, count int, lines []byte) item {
	it := key(b.id(), first)
	it["count"], it["lines"] = unsigned(uint64(count)), binary(lines)
	return it
}

func runOf(b bucket, it item) (run, error) {
	f := fields{item: it}
	r := run{first: f.unsigned("n")}
	count, rest := f.unsigned("count"), f.bytes("lines")
	for f.err == nil && len(rest) > 0 {
		var l line
		var err error
		if rest, err = l.decode(rest); err != nil {
			f.fail("lines", err.Error())
			break
		}
		l.record.Shard, l.record.T = b.shard, r.first+uint64(len(r.lines))
		r.lines = append(r.lines, l)
	}
	if count != uint64(len(r.lines)) || count == 0 {
		f.fail("count", fmt.Sprintf("says %d, and there are %d lines", count, len(r.lines)))
	}
	return r, f.err
}

func (l *line) decode(data []byte) (rest []byte, err error) {
	size, n := enc.Uvarint(data)
	if n <= 0 || len(data) < n+len(l.digest) {
		return nil, store.ErrRecord
	}
	l.size, data = int(size), data[n:]
	data = data[copy(l.digest[:], data):]
	length, n := enc.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) {
		return nil, store.ErrRecord
	}
	rest = data[n+int(length):]
	return rest, l.record.Decode(data[n : n+int(length) : n+int(length)])
}

// line is the one at t of a shard, or ErrNotFound.
func (s *Store) line(ctx context.Context, shard int, t uint64) (line, error) {
	b := bucketAt(shard, t)
	q := runQuery{bucket: b, lo: runStart(b, t), hi: t, backwards: true, page: 2}
	for r, err := range s.runs(ctx, q) {
		if err != nil {
			return line{}, err
		}
		if r.end() >= t {
			return r.lines[t-r.first], nil
		}
	}
	return line{}, store.ErrNotFound
}

// runStart is where the first run that may hold t can start.
func runStart(b bucket, t uint64) uint64 {
	return max(b.first(), t-min(t, runLines-1))
}

// fill completes the records of lines with types and payloads, and checks their digests. Events never change, so what an
// inconsistent read gives is right; what it misses is read again.
func (s *Store) fill(ctx context.Context, lines []line) error {
	missing := map[uuid.UUID]*store.Event{}
	for i := range lines {
		events := lines[i].record.Events
		for j := range events {
			missing[events[j].ID] = &events[j]
		}
	}
	for _, consistent := range []bool{false, true} {
		if err := s.fillEvents(ctx, missing, consistent); err != nil {
			return err
		}
	}
	return checkDigests(lines)
}

// fillEvents takes out what it finds.
func (s *Store) fillEvents(ctx context.Context, missing map[uuid.UUID]*store.Event, consistent bool) error {
	keys := make([]item, 0, len(missing))
	for id := range missing {
		keys = append(keys, key(id.String(), 0))
	}
	return s.read(ctx, keys, consistent, func(it item) error {
		f := fields{item: it}
		id := f.uuid("id")
		if e := missing[id]; e != nil {
			e.Type, e.Data = f.text("type"), f.bytes("data")
			delete(missing, id)
		}
		return f.err
	})
}

func checkDigests(lines []line) error {
	var buf []byte
	for i := range lines {
		r := &lines[i].record
		if buf = r.Append(buf[:0]); digestOf(buf) != lines[i].digest {
			return fmt.Errorf("store: command %s (t %d of shard %d): its events are missing or are not what was put: %w",
				r.Command, r.T, r.Shard, errDamaged)
		}
	}
	return nil
}
