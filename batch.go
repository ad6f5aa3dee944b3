package cqrs

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cqrs-server/cqrs/internal/boltfile"
)

// batch is the work of a shard between two commits: one write transaction on the shard's file, in which commands are taken from the
// queue, decided, accepted, stored and folded, so that the next command sees what the one before changed.
type batch struct {
	shard   *Shard
	tx      *boltfile.Tx // nil when none is open
	rows    rowTx
	found   position // as the transaction found it
	pos     position // as it will be when the transaction is committed
	done    []ended  // commands that the batch brings to an end
	behind  bool     // outputs outside the file lack commits that are durable: those come before new commands
	deliver uint64   // the t that outputs outside the file will have seen
	used    bool     // something was written, or waits to be
	err     error    // why the transaction must not be committed

	decision Decision
	fold     Tx
	hashing  []byte // scratch
	commands []command
	messages messageBuffer

	savedPos  position // at the last mark
	savedRows rowMark
	savedDone int
}

// ended tells a sender how its command ended.
type ended struct {
	commit *Commit
	err    *Error
}

func (b *batch) begin(context.Context) error {
	tx, err := b.shard.file.Begin()
	if err != nil {
		return readError(err)
	}
	b.tx, b.err, b.done = tx, nil, b.done[:0]
	// Read from the file, because after a commit of unknown outcome what memory holds may be older.
	if b.pos, err = b.shard.agg.positionIn(tx.Tx); err != nil {
		return err
	}
	if b.found = b.pos; b.found != b.shard.agg.position() {
		b.shard.publish(b.found) // a commit of unknown outcome took place
	}
	b.behind = b.shard.foreign && b.shard.delivered < b.pos.t
	b.rows.reset(b.shard.agg, tx.Tx)
	b.used = tx.TakeWaiting() > 0
	return nil
}

func (b *batch) mark() {
	b.savedPos, b.savedRows, b.savedDone = b.pos, b.rows.mark(), len(b.done)
}

// undo takes back what the segment since the last mark did.
func (b *batch) undo() {
	b.pos, b.done = b.savedPos, b.done[:b.savedDone]
	b.err = errors.Join(b.err, b.rows.rollback(b.savedRows))
}

// commit makes the batch durable, and then visible, and tells the senders. A transaction in which nothing happened is
// rolled back: it costs no fsync.
func (b *batch) commit() error {
	if b.tx == nil {
		return nil
	}
	if !b.behind {
		b.deliver = b.pos.t
	}
	if !b.used && len(b.done) == 0 {
		b.rollback()
		return nil
	}
	if b.err != nil {
		return b.err
	}
	b.pos.delivered = b.pos.t
	if b.shard.foreign {
		b.pos.delivered = b.shard.delivered
	}
	tx := b.tx
	if err := errors.Join(b.rows.flushHistory(), b.markTime()); err != nil {
		return err
	}
	if err := tx.Bucket(b.shard.agg.stateName).Put(positionKey, b.pos.encode()); err != nil {
		return err
	}
	b.tx = nil
	if err := tx.Commit(); err != nil {
		if errors.Is(err, boltfile.ErrUnknown) {
			b.shard.rt.receipts.lose(b.done)
		}
		b.clear()
		return err
	}
	b.shard.publish(b.pos)
	for _, e := range b.done {
		if e.commit != nil {
			e.commit.command = nil // it points into the transaction
		}
	}
	b.shard.rt.receipts.settle(b.done)
	b.clear()
	return nil
}

// markTime notes, once a batch, up to which t no command was later than the latest one: so AsOfTime finds its way.
func (b *batch) markTime() error {
	if b.pos.t == b.found.t || b.pos.t > 1 && b.pos.latest == b.found.latest {
		return nil
	}
	return b.tx.Bucket(b.shard.agg.timesName).Put(timeKey(b.pos.latest), binary.BigEndian.AppendUint64(nil, b.pos.t))
}

func (b *batch) rollback() {
	if b.tx != nil {
		_ = b.tx.Rollback() // the only error is that it has ended already
		b.tx = nil
	}
	b.clear()
}

// clear lets go of what the batch held, so that idle shards keep no memory of their last batch.
func (b *batch) clear() {
	b.rows.release()
	clear(b.done)
	b.done = b.done[:0]
}

// finish is called when all outputs have been flushed.
func (b *batch) finish(context.Context) error {
	if err := b.commit(); err != nil {
		return err
	}
	b.shard.delivered = b.deliver
	return nil
}

func (b *batch) payloadDigest(e *Envelope) (sum [16]byte) {
	sum, b.hashing = payloadDigest(e, b.hashing)
	return sum
}

func (b *batch) setMark(command []byte, m *mark) error {
	bucket := b.tx.Bucket(b.shard.agg.marksName)
	if command[6]>>4 == 7 {
		bucket.FillPercent = 0.95 // ids that grow with time are added at the end
	}
	b.used = true
	return b.rows.set(bucket, command, nil, m.append(b.rows.arena.take(markSize+len(m.refusal))))
}

func failedKey(t uint64, index int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, t), uint32(index))
}

// noteFailure keeps the list of events that the aggregate lacks.
func (b *batch) noteFailure(f *failedFold, err error) error {
	b.pos.failed++
	return b.rows.set(b.tx.Bucket(b.shard.agg.failedName), failedKey(f.T, f.Index), nil, []byte(f.Type+": "+err.Error()))
}

// clearFailure takes an event off that list.
func (b *batch) clearFailure(key []byte) error {
	bucket := b.tx.Bucket(b.shard.agg.failedName)
	old := bucket.Get(key)
	if old == nil {
		return nil
	}
	b.pos.failed--
	b.rows.undo = append(b.rows.undo, undoStep{bucket, key, old})
	return bucket.Delete(key)
}
