package cqrs

import (
	"context"
	"errors"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

// trim lets go of old messages, where the queue does not do so by itself: of commands that have ended, of what is settled in the log, and of
// feedback. It goes in small steps beside the work.
func (v *served) trim(ctx context.Context) {
	trimmer, ok := v.queue.(queue.Trimmer)
	cfg := &v.shard.rt.cfg
	if !ok || cfg.Retention < 0 || time.Since(v.trimmed) < trimEvery {
		return
	}
	oldest := cfg.Now().Add(-cfg.Retention).UnixMilli()
	more1, err1 := v.trimTopic(ctx, trimmer, topicCommands, v.handled, oldest)
	more2, err2 := v.trimTopic(ctx, trimmer, topicEvents, min(v.settled, v.shard.agg().position().offset), oldest)
	more3, err3 := v.trimTopic(ctx, trimmer, topicFeedback, -1, oldest)
	if err := errors.Join(err1, err2, err3); err != nil {
		cfg.Log.Warn("cqrs: old messages are not trimmed", "shard", v.shard.n, "error", err)
	}
	if !more1 && !more2 && !more3 {
		v.trimmed = time.Now()
	}
}

// trimTopic drops messages that are older than oldest and below the offset limit (-1: none). There may be more to drop.
func (v *served) trimTopic(ctx context.Context, q queue.Trimmer, topic string, limit, oldest int64) (more bool, err error) {
	start, end, err := v.queue.Bounds(ctx, topic, v.shard.n)
	if err != nil || start == end {
		return false, err
	}
	if limit < 0 || limit > end {
		limit = end
	}
	limit = min(limit, start+trimStep)
	before := start
	for before < limit {
		msgs, err := v.queue.Read(ctx, topic, v.shard.n, before, 1000)
		if err != nil {
			return false, err
		}
		n := 0
		for n < len(msgs) && msgs[n].Offset < limit && msgs[n].Time < oldest {
			n++
		}
		if before += int64(n); n < len(msgs) {
			break
		}
	}
	if before == start {
		return false, nil
	}
	_, err = q.Trim(ctx, topic, v.shard.n, before, trimStep)
	return before == start+trimStep, err
}
