package cqrs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// What an event queue of its own holds (with Config.Queue or Config.Store): the log. A message is a commit, or the refusal of a command.
// A refusal has no t and is no part of the digest, but it is in the log for the same reason as a commit: of two processes that decide
// one command, the first in the log counts, for all.
//
// A value begins with logMagic, logVersion and its kind. Anything else is void: it has no effect, on no replica.

const (
	logMagic   = 0xc8
	logVersion = 1

	logCommit  = 1
	logRefusal = 2
	logLate    = 3 // a commit of somebody who knows the log from an offset on only, which stands before its record

	logHead = 3 // bytes in front of a commit's record
)

// entry is a message of the log, read.
type entry struct {
	offset  int64
	anchor  anchor
	commit  *Commit  // or
	refusal *refusal // or nothing: the message is void
	fault   error    // why it is
}

// refusal says that a command was refused.
type refusal struct {
	command uuid.UUID
	payload [16]byte
	prev    Digest // the digest of the log that it was decided at
	err     []byte // the encoded *Error
}

// commitMessage is a commit for the log, of somebody who knows the log from that offset on.
func commitMessage(c *Commit, knows int64) queue.Message {
	value := append(make([]byte, 0, logHead+8+len(c.bytes)), logMagic, logVersion, logCommit)
	if knows > 0 {
		value[2] = logLate
		value = binary.BigEndian.AppendUint64(value, uint64(knows))
	}
	return queue.Message{Key: []byte(c.Key), Value: append(value, c.bytes...)}
}

func (r *refusal) message() queue.Message {
	value := append(make([]byte, 0, logHead+64+len(r.err)), logMagic, logVersion, logRefusal)
	value = append(value, r.command[:]...)
	value = append(value, r.payload[:]...)
	value = append(value, r.prev[:]...)
	return queue.Message{Value: append(value, r.err...)}
}

// readEntry reads a message of the log. The entry points into it.
func readEntry(m *queue.Message) entry {
	e := entry{offset: m.Offset, anchor: anchorOf(m.Value)}
	r := wire{rest: m.Value}
	magic, version, kind := r.byte(), r.byte(), r.byte()
	switch {
	case r.bad || magic != logMagic:
		e.fault = errors.New("it is no record of the log")
	case version != logVersion:
		e.fault = fmt.Errorf("it is a record of version %d, and this code reads version %d", version, logVersion)
	case kind == logCommit:
		e.commit, e.fault = readCommit(r.rest)
	case kind == logLate:
		var knows [8]byte
		copy(knows[:], r.take(8))
		if e.commit, e.fault = readCommit(r.rest); e.fault == nil {
			e.commit.knows = int64(binary.BigEndian.Uint64(knows[:]))
		}
	case kind == logRefusal:
		e.refusal, e.fault = readRefusal(r)
	default:
		e.fault = fmt.Errorf("it is a record of an unknown kind %d", kind)
	}
	return e
}

func readCommit(b []byte) (*Commit, error) {
	c := &Commit{bytes: b}
	if err := c.Record.Decode(b); err != nil {
		return nil, err
	}
	return c, nil
}

func readRefusal(r wire) (*refusal, error) {
	f := &refusal{}
	copy(f.command[:], r.take(16))
	copy(f.payload[:], r.take(16))
	copy(f.prev[:], r.take(32))
	f.err = r.rest
	if r.bad {
		return nil, errors.New("it is a refusal that is cut off")
	}
	return f, nil
}

// anchor tells the last message that an aggregate has read of the log from another in its place.
type anchor [16]byte

func anchorOf(value []byte) anchor {
	sum := sha256.Sum256(value)
	return anchor(sum[:16])
}

// admit applies the rule of acceptance to a commit that was read from the log. It tells whether the commit takes effect now, or (again)
// took effect before; otherwise it is void.
func (b *batch) admit(c *Commit, offset int64) (now, again bool, err error) {
	m, found, err := b.rows.ended(c.Command[:])
	if err != nil {
		return false, false, err
	}
	if found && m.t == 0 && m.place <= c.knows {
		found = false // who decided it could not know that the command had been refused, and nor can all who accept it
	}
	if found && (m.t <= b.pos.t) && !mutant.Is("dedup by position only") {
		if again, err = m.t > 0 && m.at() == offset, nil; !again {
			again, err = b.passStored(c, &m, offset)
		}
		if again {
			c.T = m.t
		}
		return false, again, err
	}
	if c.Prev != nil && Digest(c.Prev) != b.pos.digest && !mutant.Is("void commit accepted") {
		return false, false, nil
	}
	b.advance(c)
	return true, false, errors.Join(b.markAccepted(c, offset), b.endRebuilt())
}

func (b *batch) markAccepted(c *Commit, offset int64) error {
	if mutant.Is("accepted command not marked") {
		return nil
	}
	m := mark{t: c.T, payload: c.Payload}
	if offset >= 0 {
		m.refusal = binary.BigEndian.AppendUint64(nil, uint64(offset))
	}
	return b.setMark(c.Command[:], &m)
}

// at is where an accepted command's commit stands in the log, or -1 when that is not known.
func (m *mark) at() int64 {
	if m.t == 0 || len(m.refusal) != 8 {
		return -1
	}
	return int64(binary.BigEndian.Uint64(m.refusal))
}

// admitRefusal notes a command as refused, by the same rule.
func (b *batch) admitRefusal(r *refusal, offset int64) (now bool, err error) {
	_, found, err := b.rows.ended(r.command[:])
	if err != nil || found || !b.validRefusal(r) {
		return false, err
	}
	m := mark{payload: r.payload, refusal: r.err, place: offset + 1}
	if r.prev == b.pos.digest {
		m.turn = b.pos.t + 1
	}
	return true, b.setMark(r.command[:], &m)
}

// toLog has a message appended to the log with the batch, and gives the offset that it will have if nobody else writes.
// Its time is now, whatever the command's is: the queue's retention goes by it.
func (b *batch) toLog(m queue.Message) (offset int64) {
	m.Time = b.shard.rt.cfg.Now().UnixMilli()
	b.log = append(b.log, m)
	b.pos.offset++
	return b.pos.offset - 1
}

// passed moves the position behind a message of the log.
func (b *batch) passed(e *entry) {
	if e.offset >= b.pos.offset {
		b.pos.offset = e.offset + 1
		if !mutant.Is("anchor not kept") {
			b.pos.anchor = e.anchor
		}
		b.used = true
	}
}
