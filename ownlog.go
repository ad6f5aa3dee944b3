package cqrs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

// An owner appends, and does not read what it has appended. When the log is cut off behind its back (a broker that had not all of it becomes
// the leader) and others write again as much as was lost, the owner's messages still follow one another. So now and then it looks at a
// message which it had applied a while ago. When another is in its place, what it has told since may not be so: it stops, and says
// why until somebody moves the folder away. The same goes for the commands: those that were written again in the place of others would never be
// handled.

// sight is a place in the log where the owner has been.
type sight struct {
	place
	at time.Time
}

// reviewWithin is how long a look may take: it comes again, and meanwhile no command is handled.
const reviewWithin = time.Second

// review looks now and then at what was handled, and at what was applied.
func (v *served) review(ctx context.Context) error {
	if v.strayed != nil || v.shard.rt.stepped || time.Since(v.sight.at) < lookEvery {
		return v.strayed
	}
	v.sight.at = time.Now()
	err := v.reviewCommands(ctx, v.command)
	if v.command = v.lastCommand; err == nil {
		err = v.reviewLog(ctx)
	}
	if err != nil {
		return v.stray(ctx, err)
	}
	return nil
}

// reviewLog looks at the last sight, and takes another where that could be done.
func (v *served) reviewLog(ctx context.Context) error {
	if last := v.sight.place; last.offset > 0 && last.anchor != (anchor{}) {
		ctx, cancel := context.WithTimeout(ctx, reviewWithin)
		defer cancel()
		err := v.shard.holds(ctx, last.offset-1, last.anchor)
		dropped, ok := errors.AsType[*queue.RangeError](err)
		switch {
		case errors.Is(err, errOtherLog):
			return err
		case ok && dropped.Want < dropped.Start: // by retention
		case err != nil:
			return nil // it can't be read at the moment
		}
	}
	p := v.shard.agg().position()
	v.sight.place = place{p.offset, p.anchor}
	return nil
}

// reviewCommands looks at a command that was handled: the last one when it looked before, or when what it had handled was noted.
func (v *served) reviewCommands(ctx context.Context, last place) error {
	if last.offset == 0 || v.shard.rt.stepped {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reviewWithin)
	defer cancel()
	msgs, err := v.queue.Read(ctx, topicCommands, v.shard.n, last.offset-1, 1)
	if err != nil || len(msgs) == 0 || msgs[0].Offset != last.offset-1 || anchorOf(msgs[0].Value) == last.anchor {
		return nil // what can't be read shows when commands are read
	}
	start, _, err := v.queue.Bounds(ctx, topicCommands, v.shard.n)
	if err != nil {
		return nil
	}
	return fmt.Errorf("offset %d of the commands of shard %d holds another message than the one that was handled: the queue was truncated, and has "+
		"grown again. "+handleAnew, last.offset-1, v.shard.n, start)
}

// stray has the folder not be used any more.
func (v *served) stray(ctx context.Context, why error) error {
	v.strayed = why
	return errors.Join(why, v.shard.setState(ctx, strayedKey, []byte(why.Error())))
}

// hasStrayed is why the aggregate is not that of the log, if it was found out.
func (s *Shard) hasStrayed() error {
	why, err := s.state(strayedKey)
	if err != nil || why == nil {
		return err
	}
	return errors.New(string(why))
}
