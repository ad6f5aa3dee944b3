package cqrs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// DeadLetter is a command that a defect kept from its end, or an accepted event whose fold failed. It stays until it is sent again or
// discarded.
type DeadLetter struct {
	Shard   int
	Offset  int64     // its place in the shard's dead letters
	Time    time.Time // when it was put there
	Err     *Error    // what happened
	Command *Envelope // the command, if the message could be read. Change it to send it again edited
	Message queue.Message
	Fold    bool // the command was accepted, and the fold of one of its events failed

	failed *failedFold
	again  []int64 // where it is once more
}

// letter is the form in which it is kept.
type letter struct {
	Err     *Error         `json:"error"`
	Fold    *failedFold    `json:"fold,omitempty"`
	Key     []byte         `json:"key,omitempty"`
	Value   []byte         `json:"value,omitempty"`
	Headers []queue.Header `json:"headers,omitempty"`
	Offset  int64          `json:"offset"`
	Time    int64          `json:"time"`
	Handled []int64        `json:"handled,omitempty"` // of a message that says which letters are done with
}

// encodeLetter gives the form in which an error is kept. What has more bytes than limit is kept without what can be found elsewhere.
func encodeLetter(e *Error, limit int) []byte {
	l := letter{Err: decodeError(e.encode()), Fold: e.fold}
	if e.origin != nil {
		m := e.origin.message
		l.Key, l.Value, l.Headers, l.Offset, l.Time = m.Key, m.Value, m.Headers, m.Offset, m.Time
	}
	b, _ := json.Marshal(l) // it holds nothing that can't be JSON
	if len(b) > limit {
		l.Err.Message = fmt.Sprintf("%s (the message, of %d bytes, is too large to be kept here: it is at offset %d of the commands)",
			l.Err.Message, len(l.Value), l.Offset)
		l.Value, l.Headers = nil, nil
		b, _ = json.Marshal(l)
	}
	if len(b) > limit && l.Fold != nil {
		f := *l.Fold
		f.Data, l.Fold = nil, &f // refold finds it in the store
		b, _ = json.Marshal(l)
	}
	return b
}

// DeadLetters lists the dead letters of all shards that are not done with, oldest first.
func (rt *Runtime) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	var all []DeadLetter
	for _, s := range rt.shards {
		list, err := s.deadLetters(ctx)
		if err != nil {
			return nil, fmt.Errorf("cqrs: dead letters of shard %d: %w", s.n, readError(err))
		}
		all = append(all, list...)
	}
	return all, nil
}

func (s *Shard) deadLetters(ctx context.Context) ([]DeadLetter, error) {
	from, end, err := s.rt.queue.Bounds(ctx, topicDead, s.n)
	if err != nil {
		return nil, err
	}
	var list []DeadLetter
	handled := map[int64]bool{}
	for from < end {
		msgs, err := s.rt.queue.Read(ctx, topicDead, s.n, from, 100)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			l := decodeLetter(m.Value)
			for _, offset := range l.Handled {
				handled[offset] = true
			}
			if l.Handled == nil {
				list = append(list, l.open(s, m))
			}
			from = m.Offset + 1
		}
	}
	return without(list, handled), nil
}

// decodeLetter reads a letter. One that can't be read is a letter too: it hides no other.
func decodeLetter(b []byte) (l letter) {
	err := json.Unmarshal(b, &l)
	switch {
	case err != nil:
		l = letter{Value: b, Err: devError(tagEnvelope, fmt.Errorf("a dead letter that can't be read: %w", err))}
	case l.Err == nil && l.Handled == nil:
		l = letter{Value: b, Err: devError(tagEnvelope, errors.New("a dead letter without an error"))}
	}
	return l
}

// cause tells what a letter is about. A process that died between writing a letter and committing the batch left it to be written once more.
type cause struct {
	id     uuid.UUID // of the command, or of the event that was not folded
	offset int64     // of the command
	tag    string
}

func (d *DeadLetter) cause() (c cause, known bool) {
	switch {
	case d.failed != nil:
		c.id = d.failed.ID
	case d.Command != nil:
		c.id, c.offset = d.Command.ID, d.Message.Offset
	default:
		return c, false
	}
	c.tag = d.Err.Tag
	return c, true
}

// without gives those that are not done with, each once.
func without(list []DeadLetter, handled map[int64]bool) []DeadLetter {
	kept, at := list[:0], map[cause]int{}
	for _, d := range list {
		if handled[d.Offset] {
			continue
		}
		c, known := d.cause()
		if i, seen := at[c]; seen && known {
			kept[i].again = append(kept[i].again, d.Offset)
			continue
		}
		at[c] = len(kept)
		kept = append(kept, d)
	}
	return kept
}

func (l *letter) open(s *Shard, m queue.Message) DeadLetter {
	d := DeadLetter{Shard: s.n, Offset: m.Offset, Time: time.UnixMilli(m.Time), Err: l.Err, Fold: l.Fold != nil, failed: l.Fold}
	d.Message = queue.Message{Offset: l.Offset, Time: l.Time, Key: l.Key, Value: l.Value, Headers: l.Headers}
	var e Envelope
	if err := readCommand(&d.Message, &e, s.rt.types.names); err == nil {
		d.Command = &e
	}
	return d
}

// Resend sends dead letters again, as their Command says (or as the raw message, when that is nil), and takes them off the list.
// The letter of a failed fold has its event folded again, at a new t: use it when AggregateEvent was mended, or when what stood in the
// way is gone.
func (rt *Runtime) Resend(ctx context.Context, letters ...DeadLetter) error {
	for _, d := range letters {
		if err := rt.resend(ctx, d); err != nil {
			return fmt.Errorf("cqrs: send dead letter %d of shard %d again: %w", d.Offset, d.Shard, err)
		}
		if err := rt.Discard(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (rt *Runtime) resend(ctx context.Context, d DeadLetter) error {
	if d.Fold {
		return rt.refold(ctx, d)
	}
	m := queue.Message{Key: d.Message.Key, Value: d.Message.Value, Headers: d.Message.Headers}
	if d.Command != nil {
		if err := d.Command.check(rt.cfg.MaxCommand); err != nil {
			return err
		}
		m = d.Command.encode()
	}
	m.Time = rt.cfg.Now().UnixMilli()
	return sendErrorOrNil(rt.queue.Append(ctx, topicCommands, d.Shard, []queue.Message{m}))
}

func sendErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return sendError(err)
}

// Discard takes dead letters off the list without sending them.
func (rt *Runtime) Discard(ctx context.Context, letters ...DeadLetter) error {
	var errs error
	for _, d := range letters {
		note, _ := json.Marshal(letter{Handled: append([]int64{d.Offset}, d.again...)})
		err := rt.queue.Append(ctx, topicDead, d.Shard, []queue.Message{{Value: note, Time: rt.cfg.Now().UnixMilli()}})
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("cqrs: discard dead letter %d of shard %d: %w", d.Offset, d.Shard, sendError(err)))
		}
	}
	return errs
}
