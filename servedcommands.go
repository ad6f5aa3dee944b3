package cqrs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/workflow"
)

// servedCommands reads the command queue.
type servedCommands struct {
	*served
	at      int64 // the offset to poll from
	pending []queue.Message
	took    []queue.Message // by the last Poll
	segs    []workflow.Segment
}

func (q *servedCommands) Poll(_ context.Context, most int) ([]workflow.Segment, error) {
	b := q.batch
	q.segs, q.took = q.segs[:0], nil
	if q.behind {
		return nil, nil
	}
	q.at = max(q.at, q.handled)
	if len(q.pending) == 0 {
		var err error
		if q.pending, err = q.poll.Poll(topicCommands, q.shard.n, q.at, most); err != nil {
			return nil, commandsError(err)
		}
	}
	q.took = upTo(q.pending[:min(most, len(q.pending))], batchBytes)
	q.pending = q.pending[len(q.took):]
	b.commands = make([]command, len(q.took))
	for i := range q.took {
		b.commands[i].message = q.took[i]
		q.at = q.took[i].Offset + 1
		if mutant.Is("offset before effect") {
			q.handled, q.reached.handled = q.at, q.at
		}
		q.segs = append(q.segs, &b.commands[i])
	}
	return q.segs, nil
}

// commandsError explains what it means that commands are not where they were left.
func commandsError(err error) error {
	lost, ok := errors.AsType[*queue.RangeError](err)
	switch {
	case !ok:
		return err
	case lost.Want < lost.Start:
		return fmt.Errorf("commands %d to %d were dropped by the queue's retention before they were handled: lengthen it; "+
			"to go on without them, set the consumer group's offset to %d: %w", lost.Want, lost.Start-1, lost.Start, err)
	}
	return fmt.Errorf("the command queue ends at offset %d, and commands up to %d were handled: it was truncated or made anew. "+
		handleAnew+": %w", lost.End, lost.Want-1, lost.Start, err)
}

// handleAnew is what to do when commands are in the place of others.
const handleAnew = "To go on with what it holds, stop all processes, set the consumer group's offset to %d and move the data folders away, so that " +
	"they are built anew from the store: what has ended is not done again"

func (q *servedCommands) Ack(_ context.Context, n int) error {
	if n > 0 {
		last := &q.took[n-1]
		q.reached.handled = last.Offset + 1
		q.lastCommand = place{last.Offset + 1, anchorOf(last.Value)}
		q.reach()
	}
	return nil
}

func (q *servedCommands) Rewind() { q.at, q.pending = q.reached.handled, nil }
