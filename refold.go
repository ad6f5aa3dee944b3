package cqrs

import (
	"context"
	"encoding/json"
	"fmt"

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
	data, err := json.Marshal(d.failed)
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

// foldAgain folds the event inside; when it passes, the aggregate no longer lacks it.
func (k *tasks) foldAgain(ctx context.Context, tx *Tx, r refolded) error {
	t := k.types.events[r.Type]
	if t == nil {
		return fmt.Errorf("event type %q is not named in Config.Events", r.Type)
	}
	value, err := t.decode(r.Data)
	if err != nil {
		return err
	}
	tx.recorded.Event.ID, tx.recorded.Event.Type, tx.recorded.Event.Data, tx.recorded.Value = r.ID, r.Type, r.Data, value
	if err := fold(ctx, k.shard.agg.fold, tx, value); err != nil {
		return err
	}
	return k.batch.clearFailure(failedKey(r.T, r.Index))
}
