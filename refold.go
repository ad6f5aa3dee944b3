package cqrs

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// An event whose fold failed can be folded again. That changes the aggregate, so it needs a t of its own, the same on every replica: it is
// a command of the library's own, whose event holds the other event.

const reserved = "cqrs/" // the names of the library's own types begin so

// failedFold is an accepted event that the aggregate lacks.
type failedFold struct {
	ID      uuid.UUID       `json:"id"`
	T       uint64          `json:"t"`
	Index   int             `json:"index"`
	Segment string          `json:"segment"`
	Type    string          `json:"type"`
	Data    json.RawMessage `json:"data"`
	Command uuid.UUID       `json:"command"`
}

func failedFoldOf(c *Commit, index int) failedFold {
	e := &c.Events[index]
	return failedFold{ID: e.ID, T: c.T, Index: index, Segment: e.Segment, Type: e.Type, Data: e.Data, Command: c.Command}
}

type refold failedFold

func (refold) CommandType() string { return reserved + "refold" }

func (c refold) ProcessCommand(_ context.Context, d *Decision) ([]Event, error) {
	raw := d.reader.rowTx.tx.Bucket(d.reader.rowTx.agg.failedName).Get(failedKey(c.T, c.Index))
	if raw == nil {
		return nil, Reject("event %s of t %d was folded meanwhile", c.ID, c.T)
	}
	return []Event{refolded(c)}, nil
}

type refolded failedFold

func (refolded) EventType() string { return reserved + "refolded" }

// refold sends the command that has the letter's event folded again.
func (rt *Runtime) refold(ctx context.Context, d DeadLetter) error {
	if d.failed == nil {
		return errors.New("it does not say which event it is about")
	}
	inner := *d.failed
	if len(inner.Data) == 0 || string(inner.Data) == "null" { // it was too large for the letter
		if rt.store == nil {
			return errNoStore
		}
		entry, err := rt.store.Event(ctx, inner.ID)
		if err != nil {
			return err
		}
		inner.Data = entry.Data
	}
	data, err := json.Marshal(inner)
	if err != nil {
		return err
	}
	e := Envelope{Type: refold{}.CommandType(), Data: data}
	if e.ID, err = rt.cfg.NewID(); err != nil {
		return err
	}
	e.Time, e.Code = rt.cfg.Now(), rt.cfg.Code
	return sendErrorOrNil(rt.queue.Append(ctx, topicCommands, d.Shard, []queue.Message{e.encode()}))
}
