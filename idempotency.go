package cqrs

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
)

// EventID is the id of the event at index (from 0) of a command's list, in the given segment:
// v5(OID namespace, "<command id>:<index>/<segment>"), as in the original cqrs-server. The same command always gives the same ids.
func EventID(command uuid.UUID, index int, segment string) uuid.UUID {
	return ids.Event(command, index, segment)
}

// Digest is the running digest of a shard's accepted commits. Two replicas with the same digest hold the same value.
type Digest [32]byte

// next is the digest after one more accepted commit.
func (d Digest) next(commit []byte) Digest {
	h := sha256.New()
	h.Write(d[:])
	h.Write(commit)
	h.Sum(d[:0])
	return d
}

// payloadDigest tells a repeated command from another one under the same id. It works in scratch, and gives it back.
func payloadDigest(e *Envelope, scratch []byte) ([16]byte, []byte) {
	scratch = appendString(appendString(scratch[:0], e.Type), e.Key)
	scratch = append(scratch, e.Data...)
	sum := sha256.Sum256(scratch)
	return [16]byte(sum[:16]), scratch
}

// A mark says how a command ended, so that it does nothing when it comes again. Marks are kept for ever, under the command's
// id: ids that Send makes grow with time, so that the newest stand together at the end of their bucket.
type mark struct {
	t       uint64   // the commit's t; 0 when the command was refused
	payload [16]byte // payloadDigest of the command that ended so
	turn    uint64   // of a refused command: the t that its commit would have had; 0: not known
	place   int64    // of a refused command: the offset of its refusal in the log, plus 1; 0: it is in no log
	refusal []byte   // the encoded *Error of a refused command; of an accepted one, its offset in an event queue of its own, or (from the store) the digest behind it
}

const (
	markSize = 24
	turnSize = 16 // of a refused command, behind it: turn and place
)

func (m *mark) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.t)
	dst = append(dst, m.payload[:]...)
	if m.t == 0 {
		dst = binary.BigEndian.AppendUint64(dst, m.turn)
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.place))
	}
	return append(dst, m.refusal...)
}

var errMark = fmt.Errorf("cqrs: a mark in the aggregate's file can't be read: %w", boltfile.ErrDamaged)

func (m *mark) decode(b []byte) error {
	if len(b) < markSize {
		return errMark
	}
	m.t = binary.BigEndian.Uint64(b)
	m.payload = [16]byte(b[8:markSize])
	m.turn, m.place, m.refusal = 0, 0, b[markSize:]
	if m.t > 0 {
		return nil
	}
	if len(m.refusal) < turnSize {
		return errMark
	}
	m.turn, m.place = binary.BigEndian.Uint64(m.refusal), int64(binary.BigEndian.Uint64(m.refusal[8:]))
	m.refusal = m.refusal[turnSize:]
	return nil
}
