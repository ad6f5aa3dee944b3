package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"go.etcd.io/bbolt"
)

// A replica that is new, or behind what the log still holds, is brought along from the store.

// fromStore folds what the store has and the aggregate lacks. The log is then read from its start: what is there already is
// known by its marks.
func (s *Shard) fromStore(ctx context.Context, start int64) error {
	if s.served.local != nil {
		if s.agg().position().offset < start {
			return s.logError(&queue.RangeError{Topic: topicEvents, Shard: s.n, Want: s.agg().position().offset, Start: start})
		}
		return nil
	}
	last, err := s.rt.store.Last(ctx, s.n)
	if err != nil {
		return err
	}
	meter := newMeter(s.rt.cfg.Progress, "main", s.agg())
	var awaited []ended
	err = s.batch.work.build(ctx, building{
		store: s.rt.store, to: last, alone: s.rt.stepped,
		also: func(p *part) error {
			awaited = append(awaited, s.awaited(p.commits)...)
			return s.fromStorePart(start, last, p)
		},
		saved: func(p position) {
			s.publish(p)
			s.rt.receipts.settle(awaited)
			awaited = awaited[:0]
			meter.show(p.t, last)
		},
	})
	if t := s.agg().position().t; err == nil && t < last {
		err = fmt.Errorf("it ends at t %d, and said that it went to %d", t, last)
	}
	if err != nil {
		return fmt.Errorf("build shard %d from the store: %w", s.n, err)
	}
	return s.skipTo(ctx, start)
}

// awaited is those commits that somebody waits for: they were accepted before this process has read the log.
func (s *Shard) awaited(commits []Commit) (list []ended) {
	for i := range commits {
		if s.rt.receipts.waitsFor(commits[i].Command) && !mutant.Is("receipts forgotten by a rebuild") {
			c := &Commit{Record: commits[i].Record}
			s.rt.types.decodeStored(c)
			c.readRemarks()
			list = append(list, ended{commit: c})
		}
	}
	return list
}

// fromStorePart writes, into their transaction, what commits from the store bring along.
func (s *Shard) fromStorePart(start int64, last uint64, p *part) (err error) {
	w := &s.batch.work
	w.pos.offset, w.pos.anchor = start, anchor{}
	for i := range p.commits {
		c := &p.commits[i]
		m := mark{t: c.T, payload: c.Payload, refusal: p.digests[i][:]}
		if !mutant.Is("rebuild forgets the marks") {
			err = errors.Join(err, s.batch.setMark(c.Command[:], &m))
		}
	}
	return errors.Join(err, s.batch.setRebuilt(&rebuilt{last: last}), putKnows(w.tx.Bucket(w.agg.stateName), start))
}

// putKnows notes that the log before an offset was not read.
func putKnows(state *bbolt.Bucket, start int64) error {
	return state.Put(knowsKey, binary.BigEndian.AppendUint64(nil, uint64(start)))
}

// loadKnows reads from where on the log was read.
func (s *Shard) loadKnows() error {
	raw, err := s.state(knowsKey)
	if s.knows = 0; len(raw) == 8 {
		s.knows = int64(binary.BigEndian.Uint64(raw))
	}
	return err
}

// skipTo makes the log's start the position, where everything before it came from the store.
func (s *Shard) skipTo(ctx context.Context, start int64) error {
	if s.agg().position().offset >= start {
		return nil
	}
	err := s.file.Update(ctx, func(tx *bbolt.Tx) error {
		p, err := s.agg().positionIn(tx)
		if err != nil {
			return err
		}
		p.offset, p.anchor = start, anchor{}
		state := tx.Bucket(s.agg().stateName)
		return errors.Join(state.Put(positionKey, p.encode()), putKnows(state, start), lostPlace(state))
	})
	return errors.Join(readError(err), s.agg().load())
}
