package cqrs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
)

// An aggregate belongs to one log. Before it is followed, and while it is, it is made sure that it is still the one that was applied.

// notThere explains why the log does not hold an offset: it may be another topic's by now.
func (s *Shard) notThere(ctx context.Context, lost *queue.RangeError) error {
	if err := s.checkTopics(ctx); err != nil {
		return err
	}
	return s.logError(lost)
}

const readWithin = 10 * time.Second // for messages that are there

// beginAnew is what to do when the topics are others now. Offsets can outlive their topic, or be told by somebody who has not seen yet that
// it is gone.
const beginAnew = "Stop all processes, see that the store is complete and that the offsets which the queue keeps for the old topics are " +
	"deleted, and move the data folders away, so that they are built anew from the store"

// logError explains what it means that the log is not where it was left.
func (s *Shard) logError(err error) error {
	lost, ok := errors.AsType[*queue.RangeError](err)
	switch {
	case errors.Is(err, queue.ErrOtherTopic):
		return fmt.Errorf("the topics of shard %d were deleted and made again. "+beginAnew+": %w", s.n, err)
	case !ok:
		return err
	case lost.Want > lost.End:
		return fmt.Errorf("the log of shard %d ends at offset %d, and %s has applied it up to %d: it was truncated. "+
			"Stop all processes, restore the topic, or move the data folders away so that they are built anew from the store: %w",
			s.n, lost.End, s.file.Path(), lost.Want, err)
	}
	return fmt.Errorf("the log of shard %d begins at offset %d, and %d is wanted: retention has dropped what is between. "+
		"Begin with a snapshot of another process, or with a store that has it: %w", s.n, lost.Start, lost.Want, err)
}

// topicIDs are the identities of the topics of a shard.
type topicIDs struct {
	Commands string `json:"commands"`
	Events   string `json:"events"`
}

// checkLog makes sure that the aggregate follows the log that it followed before: the same topic, with the same message before the
// position, and before where an earlier version stood. An aggregate that is new, or too far behind, is brought along from the store first.
func (s *Shard) checkLog(ctx context.Context) error {
	if err := errors.Join(s.hasStrayed(), s.checkTopics(ctx)); err != nil {
		return err
	}
	start, end, err := s.rt.queue.Bounds(ctx, topicEvents, s.n)
	if err != nil {
		return err
	}
	at := s.agg().position().offset
	half, err := s.halfBuilt()
	if err != nil {
		return err
	}
	if at > end {
		return s.logError(&queue.RangeError{Topic: topicEvents, Shard: s.n, Want: at, Start: start, End: end})
	}
	if err := s.checkOutran(ctx, start, end); err != nil {
		return err
	}
	if at < start || s.agg().position().t == 0 || half && !mutant.Is("half built taken for built") {
		return s.fromStore(ctx, start)
	}
	if at == start {
		return nil
	}
	return s.checkAnchor(ctx, at-1)
}

// sameLog makes sure that what was read from the log is behind what was applied: meanwhile the topic may have been made anew, or cut off
// and written again. It is called between reading and the end of applying.
func (s *Shard) sameLog(ctx context.Context) error {
	if at := s.agg().position().offset; at > 0 {
		err := s.checkAnchor(ctx, at-1)
		if lost, ok := errors.AsType[*queue.RangeError](err); !ok || lost.Want >= lost.Start {
			return err
		} // else retention has dropped it
	}
	return s.checkTopics(ctx)
}

// checkAnchor compares the last message that was applied with the one that is in its place.
func (s *Shard) checkAnchor(ctx context.Context, at int64) error {
	return s.holds(ctx, at, s.agg().position().anchor)
}

// errOtherLog says that what was applied is not what the log holds.
var errOtherLog = errors.New("it belongs to another log, or the log was damaged. Stop all processes, and move the data folders of those that " +
	"differ away, so that they are built anew from the store")

// holds makes sure that the log has at an offset the message that was applied.
func (s *Shard) holds(ctx context.Context, at int64, applied anchor) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	msgs, err := s.rt.queue.Read(ctx, topicEvents, s.n, at, 1)
	if err != nil {
		return s.logError(err)
	}
	if len(msgs) > 0 && msgs[0].Offset == at && anchorOf(msgs[0].Value) != applied && !mutant.Is("anchor unchecked") {
		return fmt.Errorf("offset %d of the log of shard %d holds another message than the one that %s has applied: %w",
			at, s.n, s.file.Path(), errOtherLog)
	}
	return nil
}

func (s *Shard) checkTopics(ctx context.Context) error {
	var now, was topicIDs
	var err1, err2 error
	now.Commands, err1 = s.rt.queue.Identity(ctx, topicCommands)
	now.Events, err2 = s.rt.queue.Identity(ctx, topicEvents)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	raw, err := s.state(topicsKey)
	if err != nil {
		return err
	}
	switch text, _ := json.Marshal(now); {
	case raw == nil:
		return s.setState(ctx, topicsKey, text)
	case bytes.Equal(raw, text): // as nearly always
		return nil
	}
	if err := json.Unmarshal(raw, &was); err != nil {
		return fmt.Errorf("%s: what it says of the topics can't be read: the file is damaged", s.file.Path())
	}
	if was != now && !mutant.Is("topic identity ignored") {
		return fmt.Errorf("the topics of shard %d were deleted and made again (they are %v, and %s follows %v): their offsets mean "+
			"something else now. "+beginAnew, s.n, now, s.file.Path(), was)
	}
	return nil
}
