package cqrs

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/queue"
)

// batch is the work of a shard between two commits: one write transaction on the shard's file, in which commands are taken from the
// queue, decided, accepted, stored and folded, so that the next command sees what the one before changed.
type batch struct {
	work
	shard   *Shard
	done    []ended // commands that the batch brings to an end
	behind  bool    // outputs outside the file lack commits that are durable: those come before new commands
	deliver uint64  // the t that outputs outside the file will have seen
	used    bool    // something was written, or waits to be

	log    []queue.Message // what the batch appends to the event queue, in order
	buried []ended         // commands that end in the dead letters
	fenced bool            // an error depends on the value and is not in the log: the log must still end where the batch thinks
	extra  func() error    // writes what a medium keeps beside the position; may be nil

	decision Decision
	hashing  []byte // scratch
	commands []command
	messages messageBuffer

	savedPos  position // at the last mark
	savedRows rowMark
	savedDone int
	savedLog  int
}

// ended tells a sender how its command ended.
type ended struct {
	commit *Commit
	err    *Error
}

func (b *batch) begin(context.Context) error {
	b.done = b.done[:0]
	if err := b.work.begin(); err != nil {
		return err
	}
	if b.found != *b.shard.agg().position() {
		b.shard.publish(b.found) // a commit of unknown outcome took place
	}
	b.behind = b.shard.foreign && b.shard.delivered < b.pos.t
	b.used = b.tx.TakeWaiting() > 0
	b.fenced = false
	return nil
}

func (b *batch) mark() {
	b.rows.settle() // there is no way back behind the segment that begins
	b.savedPos, b.savedRows, b.savedDone, b.savedLog = b.pos, b.rows.mark(), len(b.done), len(b.log)
}

// undo takes back what the segment since the last mark did.
func (b *batch) undo() {
	b.pos, b.done, b.log = b.savedPos, b.done[:b.savedDone], b.log[:b.savedLog]
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
	b.pos.delivered = b.pos.t
	if b.shard.foreign {
		b.pos.delivered = b.shard.delivered
	}
	if b.extra != nil {
		if err := b.extra(); err != nil {
			return err
		}
	}
	if err := b.save(); err != nil {
		return err
	}
	tx := b.tx
	b.tx = nil
	if err := tx.Commit(); err != nil {
		if errors.Is(err, boltfile.ErrUnknown) {
			b.shard.rt.receipts.lose(b.done)
		}
		b.clear()
		return err
	}
	fail.Here("publish")
	b.shard.publish(b.pos)
	fail.Here("settle")
	b.shard.rt.receipts.settle(b.done)
	b.clear()
	return nil
}

func (b *batch) rollback() {
	b.work.rollback()
	b.clear()
}

// clear lets go of what the batch held, so that idle shards keep no memory of their last batch.
func (b *batch) clear() {
	b.rows.release()
	clear(b.done)
	clear(b.log)
	b.done, b.log = b.done[:0], b.log[:0]
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

func (b *batch) setMark(command []byte, m *mark) (err error) {
	defer b.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	marks := b.agg.marksTable()
	if command[6]>>4 == 7 {
		b.rows.table(marks).bucket.FillPercent = 0.95 // ids that grow with time are added at the end
	}
	b.used = true
	return b.rows.setRow(marks, command, m.append(b.rows.arena.take(markSize+turnSize+len(m.refusal))))
}
