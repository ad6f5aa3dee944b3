package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
)

// Feedback tells how a command ended. It is given at least once per command, after the effect can be read.
type Feedback struct {
	Shard   int
	Offset  int64 // its place in the shard's feedback queue
	Command uuid.UUID
	T       uint64 // the commit's t; 0 when the command was not accepted
	Err     *Error // why it was not accepted; nil when it was

	// What follows is told by an event queue of its own only (Config.Queue or Config.Store).
	Repeat bool       // the command had been accepted before
	Events []Recorded // without Value

	payload [16]byte // other commands may have been sent under the same id
	trace   []store.Trace
	remarks []byte // encoded
}

const feedbackVersion = 1

func feedbackOf(s workflow.Segment) (Feedback, bool) {
	switch s := s.(type) {
	case *Commit:
		// A commit that is delivered again to outputs outside the file had its feedback in its own batch.
		return Feedback{Command: s.Command, T: s.T, Repeat: s.Repeat, payload: s.Payload, trace: s.Trace, remarks: s.Record.Remarks}, s.bytes != nil || s.Repeat
	case *Error:
		f := Feedback{Command: s.Command, Err: s}
		if s.origin != nil {
			f.payload = s.origin.payload
		}
		return f, true
	}
	return Feedback{}, false
}

func (f *Feedback) append(dst []byte) []byte {
	dst = append(dst, feedbackVersion)
	dst = append(dst, f.Command[:]...)
	dst = binary.AppendUvarint(dst, f.T)
	if f.Err != nil {
		dst = append(dst, f.Err.encode()...)
	}
	return dst
}

// encodeRemarks gives remarks the form in which a commit keeps them: a JSON array.
func encodeRemarks(remarks []*Error) []byte {
	b := []byte{'['}
	for i, e := range remarks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.encode()...)
	}
	return append(b, ']')
}

func (f *Feedback) decode(b []byte) error {
	r := wire{rest: b}
	if v := r.byte(); v != feedbackVersion {
		return fmt.Errorf("feedback of version %d, and this code reads version %d", v, feedbackVersion)
	}
	copy(f.Command[:], r.take(16))
	f.T = r.uvarint()
	if r.bad {
		return errors.New("feedback that is cut off")
	}
	if len(r.rest) > 0 {
		f.Err = decodeError(r.rest)
	}
	return nil
}

// Feedback follows a shard's feedback queue from an offset on, and waits for more until ctx ends; the error that comes last, with
// the offset -1, says why it ended.
func (rt *Runtime) Feedback(ctx context.Context, shard int, from int64) iter.Seq2[Feedback, error] {
	return rt.feedback(ctx, shard, from, math.MaxInt64, parts{})
}

// feedback is Feedback up to an offset, which it does not go beyond, nor wait for more.
func (rt *Runtime) feedback(ctx context.Context, shard int, from, end int64, p parts) iter.Seq2[Feedback, error] {
	return func(yield func(Feedback, error) bool) {
		for from < end {
			msgs, err := rt.queue.Read(ctx, topicFeedback, shard, from, 1000)
			if err != nil {
				yield(Feedback{Shard: shard, Offset: -1}, readError(err))
				return
			}
			for i := range msgs {
				f, whole, err := p.hear(shard, &msgs[i])
				if from = f.Offset + 1; (whole || err != nil) && !yield(f, err) {
					return
				}
			}
		}
	}
}

// parts are the events that the feedback queue told of commands whose last event is still to come. Those of several commands may be mixed,
// where two processes write, and be told more than once.
type parts map[uuid.UUID][]Recorded

const maxParts = 10_000

// hear reads a message of the feedback queue. Of a command's events the last one makes the feedback whole. Events whose first ones were
// dropped from the queue are passed over.
func (p parts) hear(shard int, m *queue.Message) (f Feedback, whole bool, err error) {
	f = Feedback{Shard: shard, Offset: m.Offset}
	last, err := f.hear(m)
	if err != nil || len(f.Events) == 0 {
		return f, true, err
	}
	index, before := f.Events[0].Index, p[f.Command]
	switch {
	case index == 0:
		before = nil
	case index != len(before) && mutant.Is("feedback with some of its events"):
		return f, last, nil
	case index != len(before):
		return f, false, nil
	}
	f.Events = append(before, f.Events...)
	if last {
		delete(p, f.Command)
		return f, true, nil
	}
	if len(p) >= maxParts { // nobody who follows the rules leaves so many unfinished
		clear(p)
	}
	p[f.Command] = f.Events
	return f, false, nil
}

// tells tells whether the feedback is about the command of a receipt, and not about another one under its id.
func (f *Feedback) tells(r *Receipt) bool {
	return f.Command == r.ID && (f.payload == r.payload || f.payload == [16]byte{})
}
