package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/store"
)

// work is one write transaction on an aggregate: commits are folded, in the order of t, and with them the position moves.
type work struct {
	agg   *aggregate
	types *registry
	tx    *boltfile.Tx // nil when none is open
	rows  rowTx
	found position // as the transaction found it
	pos   position // as it will be when the transaction is committed
	err   error    // why the transaction must not be committed
	folds Tx       // used again for each event

	foldsOf, foldsIn context.Context // the context of the last folds, and the same one that can't be cancelled

	keepHistory uint64 // see Config
	keepFor     time.Duration
}

func newWork(rt *Runtime, a *aggregate) work {
	return work{agg: a, types: rt.types, keepHistory: rt.cfg.KeepHistory, keepFor: rt.cfg.KeepFor}
}

// begin starts the transaction. The position is read from the file, because after a commit of unknown outcome memory may hold an
// older one.
func (w *work) begin() error {
	tx, err := w.agg.file.Begin()
	if err != nil {
		return readError(err)
	}
	w.tx, w.err = tx, nil
	if w.pos, err = w.agg.positionIn(tx.Tx); err != nil {
		return err
	}
	if mutant.Is("position from memory after an unknown commit") {
		w.pos = *w.agg.position()
	}
	w.found = w.pos
	w.rows.reset(w.agg, tx.Tx)
	return nil
}

// advance counts a commit as accepted.
func (w *work) advance(c *Commit) {
	c.T = w.pos.t + 1
	w.follow(c, w.pos.digest.next(c.bytes))
}

// follow counts a commit that was accepted as the next t. The digest is that of the log behind it.
func (w *work) follow(c *Commit, digest Digest) {
	w.pos.t, w.pos.digest = c.T, digest
	if mutant.Is("digest not advanced") && c.Prev == nil {
		w.pos.digest = Digest{}
	}
	if c.T == 1 || c.Time > w.pos.latest {
		w.pos.latest = c.Time
	}
}

// save writes the position, and what is gathered until then. After it the transaction can be committed.
func (w *work) save() error {
	if w.err != nil {
		return w.err
	}
	if err := errors.Join(w.rows.flushHistory(), w.markTime(), w.prune(), w.rows.flushRows()); err != nil {
		return err
	}
	return w.tx.Bucket(w.agg.stateName).Put(positionKey, w.pos.encode())
}

// markTime notes, once a batch, up to which t no command was later than the latest one: so AsOfTime finds its way.
func (w *work) markTime() error {
	if w.pos.t == w.found.t || w.found.t > 0 && w.pos.latest == w.found.latest {
		return nil
	}
	return w.tx.Bucket(w.agg.timesName).Put(timeKey(w.pos.latest), binary.BigEndian.AppendUint64(nil, w.pos.t))
}

// rollback gives the transaction up.
func (w *work) rollback() {
	if w.tx != nil {
		_ = w.tx.Rollback() // the only error is that it has ended already
		w.tx = nil
	}
	w.rows.release()
}

// foldCommit folds each event of a commit, and gives the errors of those that failed.
func (w *work) foldCommit(ctx context.Context, c *Commit) (failed []*Error) {
	if w.foldsOf != ctx {
		// A fold that is told to stop would fail, and leave out what other replicas have.
		w.foldsOf, w.foldsIn = ctx, context.WithoutCancel(ctx)
	}
	for i := range c.Events {
		if c.Values[i] == nil {
			continue
		}
		if err := w.foldOne(w.foldsIn, c, i); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func (w *work) foldOne(ctx context.Context, c *Commit, index int) *Error {
	w.folds.begins(&w.rows, c, index)
	before, failures := w.rows.mark(), w.pos.failed
	again, isAgain := c.Values[index].(refolded)
	var err error
	switch bad, isBad := c.Values[index].(unreadable); {
	case isAgain:
		err = w.foldAgain(ctx, again)
	case isBad:
		err = bad.error
	default:
		err = fold(ctx, w.agg.fold, &w.folds, c.Values[index])
	}
	if err == nil {
		return nil
	}
	if damaged := w.folds.reader.err; errors.Is(damaged, boltfile.ErrDamaged) { // it is not the fold that is at fault
		w.err = errors.Join(w.err, damaged)
	}
	w.pos.failed = failures
	if !mutant.Is("failed fold leaves its rows") {
		w.err = errors.Join(w.err, w.rows.rollback(before))
	}
	if isAgain {
		return foldError(c, failedFold(again), err)
	}
	f := failedFoldOf(c, index)
	if mutant.Is("failed fold not counted") {
		return foldError(c, f, err)
	}
	w.err = errors.Join(w.err, w.noteFailure(f, err))
	return foldError(c, f, err)
}

// foldError is the error that goes to the dead letters.
func foldError(c *Commit, f failedFold, err error) *Error {
	e := devError(tagAggregate, fmt.Errorf("event %s %s (t %d) is stored, and the aggregate shows nothing of it: %w",
		f.Type, f.ID, f.T, err)).of(c.Command)
	e.origin, e.fold = c.command, &f
	return e
}

// fold calls the program's fold; its panic, and an error of a table that it ignored, fail it too.
func fold(ctx context.Context, f Aggregator, tx *Tx, e Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := f.AggregateEvent(ctx, tx, e); err != nil {
		return err
	}
	return tx.reader.err
}

// foldAgain folds the event inside; when it passes, the aggregate no longer lacks it. Where it was folded at once, because this version of the
// aggregate does not fail where another did, there is nothing to do.
func (w *work) foldAgain(ctx context.Context, r refolded) error {
	if w.failedBefore(r.T, r.Index) == "" {
		return nil
	}
	t := w.types.events[r.Type]
	if t == nil {
		return fmt.Errorf("event type %q is not named in Config.Events", r.Type)
	}
	value, err := t.decode(r.Data)
	if err != nil {
		return err
	}
	e := w.folds.Recorded()
	e.Event, e.Value = store.Event{ID: r.ID, Index: r.Index, Segment: r.Segment, Type: r.Type, Data: r.Data}, value
	w.folds.again = &e
	if err := fold(ctx, w.agg.fold, &w.folds, value); err != nil {
		return err
	}
	return w.clearFailure(failedKey(r.T, r.Index))
}

func failedKey(t uint64, index int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, t), uint32(index))
}

// noteFailure keeps the list of events that the aggregate lacks.
func (w *work) noteFailure(f failedFold, err error) error {
	w.pos.failed++
	return w.rows.set(w.tx.Bucket(w.agg.failedName), failedKey(f.T, f.Index), nil, []byte(f.Type+": "+shortened(fmt.Sprint(err), maxMessage)))
}

// failedBefore tells why a fold failed, or nothing when it did not.
func (w *work) failedBefore(t uint64, index int) string {
	return string(w.tx.Bucket(w.agg.failedName).Get(failedKey(t, index)))
}

// clearFailure takes an event off that list.
func (w *work) clearFailure(key []byte) error {
	bucket := w.tx.Bucket(w.agg.failedName)
	old := bucket.Get(key)
	if old == nil {
		return nil
	}
	w.pos.failed--
	w.rows.undo = append(w.rows.undo, undoStep{bucket: bucket, key: key, old: old})
	return bucket.Delete(key)
}
