package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
)

// Envelope is what the events of one commit have in common.
type Envelope struct {
	Shard int    // where it was accepted; not part of the record's bytes
	T     uint64 // the number it was accepted as; not part of the record's bytes

	Command     uuid.UUID
	CommandType string
	Key         string
	Time        int64 // the command's time, milliseconds since 1970
	Basis       uint64
	Code        string // code version of who decided it
}

// Event is one event of a record.
type Event struct {
	ID      uuid.UUID // ids.Event(command, index, segment); not part of the record's bytes
	Index   int       // its place in the record, from 0
	Segment string
	Type    string
	Data    []byte
}

// Entry is an event together with what its commit says of it.
type Entry struct {
	Envelope
	Event
}

// Trace is a header that travels from a command to its events.
type Trace struct{ Key, Value string }

// Record is a commit: all events of one command, the unit of atomicity in log, store, aggregate and feedback.
type Record struct {
	Envelope
	Payload [16]byte // digest of the command's type, key and payload: tells a repeated command from another under its id
	Prev    []byte   // digest of the log it follows (32 bytes), or nil when it was decided as of its basis
	Trace   []Trace
	Remarks []byte // what the decision told the sender beside the events; nil for nothing
	Events  []Event
}

const recordVersion = 1

const (
	hasPrev = 1 << iota
	hasRemarks
	hasTrace
	knownFlags = hasPrev | hasRemarks | hasTrace
)

// ErrRecord is wrapped by every error of Decode.
var ErrRecord = errors.New("store: not a commit record")

// Append adds the record's bytes to dst. The same record always gives the same bytes.
func (r *Record) Append(dst []byte) []byte {
	dst = append(dst, recordVersion, r.flags())
	dst = append(dst, r.Command[:]...)
	dst = append(dst, r.Payload[:]...)
	if r.Prev != nil {
		dst = append(dst, r.Prev[:32]...)
	}
	dst = binary.AppendVarint(dst, r.Time)
	dst = binary.AppendUvarint(dst, r.Basis)
	dst = appendString(dst, r.CommandType)
	dst = appendString(dst, r.Key)
	dst = appendString(dst, r.Code)
	if r.Remarks != nil {
		dst = appendBytes(dst, r.Remarks)
	}
	if len(r.Trace) > 0 {
		dst = appendTrace(dst, r.Trace)
	}
	return appendEvents(dst, r.Events)
}

func (r *Record) flags() (f byte) {
	if r.Prev != nil {
		f |= hasPrev
	}
	if r.Remarks != nil {
		f |= hasRemarks
	}
	if len(r.Trace) > 0 {
		f |= hasTrace
	}
	return f
}

func appendTrace(dst []byte, trace []Trace) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(trace)))
	for _, h := range trace {
		dst = appendString(appendString(dst, h.Key), h.Value)
	}
	return dst
}

func appendEvents(dst []byte, events []Event) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(events)))
	for i := range events {
		dst = appendString(dst, events[i].Segment)
		dst = appendString(dst, events[i].Type)
		dst = appendBytes(dst, events[i].Data)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Decode reads what Append wrote, and nothing else: what it takes, Append gives back byte for byte. Shard and T are left as
// they are. Prev, Remarks and the events' Data point into data. After an error the record is not to be used.
func (r *Record) Decode(data []byte) error {
	d := decoder{rest: data}
	return d.all(r)
}

// Decoder decodes records one after another, at a lower cost: it gives the same string again for types and code versions that come
// again, and the events of many records share a piece of memory.
type Decoder struct {
	names [16]string
	next  int // the name that the next new one takes the place of
	room  []Event
}

// Decode is r.Decode(data).
func (d *Decoder) Decode(data []byte, r *Record) error {
	inner := decoder{rest: data, known: d}
	return inner.all(r)
}

const manyEvents = 256 // for which memory is taken at a time

// events gives an empty list with room for n.
func (d *Decoder) events(n int) []Event {
	if cap(d.room)-len(d.room) < n {
		d.room = make([]Event, 0, max(n, manyEvents))
	}
	at := len(d.room)
	d.room = d.room[:at+n]
	return d.room[at : at : at+n]
}

const longName = 64 // is not kept

func (d *Decoder) name(b []byte) string {
	for _, s := range d.names {
		if s == string(b) {
			return s
		}
	}
	s := string(b)
	if len(s) <= longName {
		d.names[d.next] = s
		d.next = (d.next + 1) % len(d.names)
	}
	return s
}

func (r *Record) decode(d *decoder) {
	if v := d.byte(); d.err == nil && v != recordVersion {
		d.fail("version %d, and this code reads version %d", v, recordVersion)
	}
	flags := d.byte()
	if flags&^knownFlags != 0 {
		d.fail("unknown flags %#x", flags)
	}
	copy(r.Command[:], d.take(16))
	copy(r.Payload[:], d.take(16))
	r.Prev, r.Remarks, r.Trace = nil, nil, nil
	if flags&hasPrev != 0 {
		r.Prev = d.take(32)
	}
	r.Time, r.Basis = d.varint(), d.uvarint()
	r.CommandType, r.Key, r.Code = d.name(), d.string(), d.name()
	if flags&hasRemarks != 0 {
		r.Remarks = d.bytes()
	}
	if flags&hasTrace != 0 {
		r.Trace = d.trace()
	}
	r.Events = d.events(r.Command, r.Events[:0])
}

type decoder struct {
	rest  []byte
	err   error
	known *Decoder // may be nil
}

func (d *decoder) all(r *Record) error {
	r.decode(d)
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	return d.err
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrRecord}, args...)...)
	}
	d.rest = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.fail("cut off")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if !d.shortest(n) {
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if !d.shortest(n) {
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// shortest tells whether the number in the next n bytes is there and has no byte too many.
func (d *decoder) shortest(n int) bool {
	return n == 1 || n > 1 && d.rest[n-1] != 0
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail("cut off")
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) name() string {
	b := d.bytes()
	if d.known == nil || len(b) == 0 {
		return string(b)
	}
	return d.known.name(b)
}

// count reads how many things follow; each takes at least size bytes, so that a hostile count cannot ask for memory.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail("cut off")
		return 0
	}
	return int(n)
}

func (d *decoder) trace() []Trace {
	n := d.count(2)
	if n == 0 {
		d.fail("an empty trace")
	}
	trace := make([]Trace, n)
	for i := range trace {
		trace[i] = Trace{Key: d.string(), Value: d.string()}
	}
	return trace
}

func (d *decoder) events(command uuid.UUID, dst []Event) []Event {
	n := d.count(3)
	if d.known != nil && n > cap(dst) {
		dst = d.known.events(n)
	}
	for i := range n {
		e := Event{Index: i, Segment: d.name(), Type: d.name(), Data: d.bytes()}
		if d.err != nil {
			return dst
		}
		e.ID = ids.Event(command, i, e.Segment)
		dst = append(dst, e)
	}
	return dst
}
