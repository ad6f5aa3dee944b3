package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Command is a request that may be refused. It is a struct, and its exported fields are the payload, as JSON, under their json names in
// exactly this spelling. What other programs send is coerced: a text such as "31" into a number, "true" into a bool, and a date
// (RFC 3339, 2013-01-31, 2013/01/31, "2013-01-31 12:00:00.0", seconds or milliseconds since 1970) into a time.Time, in UTC. Fields that the type
// does not have are refused, unless it has a field of type map[string]any with the tags json:"-" cqrs:"rest", which takes them.
//
// A type may have more:
//   - validate tags, those of github.com/go-playground/validator. Note that "required" takes 0 and false for nothing; on a pointer
//     it does not.
//   - Validate() error, which is asked when all fields could be read
//   - CommandKey() string, which gives the key; see WithKey
//   - Consistency() Consistency
//
// All faults of the data come together, in one error of level user with the tag "validation"; its Data["faults"] lists them, each with
// its path and its problem.
type Command interface {
	// CommandType is the name on the wire, such as "user/register". It must not depend on the fields.
	CommandType() string
	// ProcessCommand decides: it returns the events that happen (none is an answer too), or an error. An error made by Reject
	// refuses the command, one made by Retry has it tried again, any other is a defect and sends the command to the dead letters.
	// It must depend on nothing but the command and what it reads through d, and change nothing.
	ProcessCommand(ctx context.Context, d *Decision) ([]Event, error)
}

// Consistency is what a decision may rely on. A command type chooses by a method Consistency() Consistency, and otherwise
// Config.Consistency holds.
type Consistency uint8

const (
	// Serializable decides at the point of the log where the commit lands: nothing can come in between.
	Serializable Consistency = iota
	// AsOfBasis decides on the value at the command's basis, and sees nothing later. Nothing is checked afterwards.
	AsOfBasis
	// Unchanged decides on the value at the command's basis, and refuses the command (level user, tag "conflict", with the list of
	// what changed) when anything that it read has changed since: it is the lock for "somebody edited this while you looked at it".
	// What it reads is noted by the Decision: rows, rows that are not there, and ranges of tables and indexes.
	Unchanged
)

// Envelope is a command as it travels.
type Envelope struct {
	ID    uuid.UUID     // tells a repeated command. Send makes one (v7, which grows with time)
	Type  string        // the CommandType
	Key   string        // chooses the shard, so that commands with the same key stay in order. May be empty: the id then chooses
	Time  time.Time     // when it was sent, to the millisecond; its events bear it too
	Basis *uint64       // the t that its sender knew; nil: the newest, wherever it is decided
	Code  string        // code version of the sender
	Data  []byte        // the payload, a JSON object
	Trace []store.Trace // headers that travel on to the events

	basis uint64 // what Basis points to when it was read from a queue
}

const (
	maxType = 255
	maxKey  = 1024
	maxCode = 255

	maxTrace = 16 << 10
)

// traceSize is what the trace headers take, about.
func (e *Envelope) traceSize() (n int) {
	for _, h := range e.Trace {
		n += len(h.Key) + len(h.Value) + 2
	}
	return n
}

// check refuses what must not travel, naming the command.
func (e *Envelope) check(maxData int) error {
	err := errors.Join(
		checkTypeName(e.Type), checkName("key", e.Key, maxKey), checkName("code version", e.Code, maxCode))
	if n := e.traceSize(); n > maxTrace {
		err = errors.Join(err, fmt.Errorf("its trace headers have %d bytes, and the limit is %d", n, maxTrace))
	}
	if len(e.Data) > maxData {
		err = errors.Join(err, fmt.Errorf("its data has %d bytes, and the limit is %d", len(e.Data), maxData))
	}
	if e.ID == (uuid.UUID{}) {
		err = errors.Join(err, errors.New("it has no id"))
	}
	if err != nil {
		return fmt.Errorf("command %s %.64q can't be sent: %w", e.ID, e.Type, err)
	}
	return nil
}

func checkTypeName(name string) error {
	if name == "" {
		return errors.New("its name is empty")
	}
	return checkName("name", name, maxType)
}

func checkName(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("its %s has %d bytes, and the limit is %d", what, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return fmt.Errorf("its %s has a control character (%#02x) at byte %d", what, s[i], i)
		}
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("its %s is not UTF-8", what)
	}
	return nil
}

// The command's form in the queue: the key is the message's key; the value begins with two bytes that no JSON text begins with.
const (
	commandMagic   = 0xc9
	commandVersion = 1
	hasBasis       = 1
)

func (e *Envelope) encode() queue.Message {
	b := make([]byte, 0, 64+len(e.Type)+len(e.Code)+len(e.Data))
	b = append(b, commandMagic, commandVersion)
	b = append(b, e.ID[:]...)
	b = binary.AppendVarint(b, e.Time.UnixMilli())
	if e.Basis != nil {
		b = binary.AppendUvarint(append(b, hasBasis), *e.Basis)
	} else {
		b = append(b, 0)
	}
	b = appendString(b, e.Type)
	b = appendString(b, e.Code)
	b = binary.AppendUvarint(b, uint64(len(e.Trace)))
	for _, h := range e.Trace {
		b = appendString(appendString(b, h.Key), h.Value)
	}
	return queue.Message{Key: []byte(e.Key), Value: append(b, e.Data...), Time: e.Time.UnixMilli()}
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decodeEnvelope reads a message of the command queue. Data points into the message.
func decodeEnvelope(m *queue.Message, e *Envelope, names *interner) error {
	r := wire{rest: m.Value}
	if magic, version := r.byte(), r.byte(); magic != commandMagic || version != commandVersion {
		return fmt.Errorf("no command of version %d: it begins with %#02x %#02x", commandVersion, magic, version)
	}
	copy(e.ID[:], r.take(16))
	e.Time = time.UnixMilli(r.varint()).UTC()
	e.Basis = nil
	if r.byte() == hasBasis {
		e.basis = r.uvarint()
		e.Basis = &e.basis
	}
	e.Type = names.name(r.bytes())
	e.Code = names.name(r.bytes())
	e.Trace = nil
	for range r.uvarint() {
		if r.bad {
			break
		}
		e.Trace = append(e.Trace, store.Trace{Key: string(r.bytes()), Value: string(r.bytes())})
	}
	e.Key, e.Data = string(m.Key), r.rest
	if r.bad {
		return errors.New("a command that is cut off")
	}
	return nil
}

// Decision is what ProcessCommand may read: the aggregate's value (every Table takes a Decision), the envelope, and new ids and
// random numbers that are the same whenever the command is decided again. It is valid until ProcessCommand returns.
type Decision struct {
	reader  txReader
	past    *aggregate // set when the command is decided again: each read then has a transaction of its own
	cmd     *Envelope
	segment string
	fresh   int
	remarks []*Error
}

// Command is the command's envelope.
func (d *Decision) Command() Envelope { return *d.cmd }

// Time is the command's time. Use it instead of the clock.
func (d *Decision) Time() time.Time { return d.cmd.Time }

// T is the t of the value that the decision sees.
func (d *Decision) T() uint64 { return d.reader.t }

// NewID gives a new id: the first call of this command always the same one, the second call another, and so on.
func (d *Decision) NewID() uuid.UUID {
	d.fresh++
	if mutant.Is("random ids") {
		return uuid.New()
	}
	return ids.Fresh(d.cmd.ID, d.fresh-1)
}

// Rand gives random numbers: each call a generator that starts anew, the same for this command always.
func (d *Decision) Rand() *rand.Rand {
	var seed [32]byte
	copy(seed[:], d.cmd.ID[:])
	copy(seed[16:], "cqrs decision v1")
	return rand.New(rand.NewChaCha8(seed))
}

// Segment sets the segment that goes into the ids of the events; it is "0" otherwise.
func (d *Decision) Segment(segment string) { d.segment = segment }

// Remark tells the sender something beside the events: an error of level user that does not refuse the command.
func (d *Decision) Remark(e *Error) {
	if e != nil {
		d.remarks = append(d.remarks, e.of(d.cmd.ID))
	}
}
