package cqrs

import (
	"sync"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/google/uuid"
)

// receipts are those that the runtime follows.
type receipts struct {
	mu      sync.Mutex
	max     int
	closed  bool
	waiting map[uuid.UUID]*Receipt
}

// expect follows receipts until their commands have ended, as far as there is room, and tells how many.
func (q *receipts) expect(list []*Receipt) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, ErrClosed
	}
	for i, r := range list {
		if len(q.waiting) >= q.max {
			return i, nil
		}
		r.done = make(chan struct{})
		r.next = q.waiting[r.ID]
		q.waiting[r.ID] = r
	}
	return len(list), nil
}

// forget stops following receipts whose commands were not sent.
func (q *receipts) forget(list []*Receipt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range list {
		q.remove(r)
	}
}

func (q *receipts) remove(r *Receipt) {
	for at, prev := q.waiting[r.ID], (*Receipt)(nil); at != nil; prev, at = at, at.next {
		switch {
		case at != r:
		case prev != nil:
			prev.next = r.next
		case r.next != nil:
			q.waiting[r.ID] = r.next
		default:
			delete(q.waiting, r.ID)
		}
	}
}

// settle tells those who wait how their commands ended.
func (q *receipts) settle(list []ended) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range list {
		theirs := q.take(&e)
		e.release()
		for r := theirs; r != nil; r = r.next {
			r.end = e
			close(r.done)
		}
	}
}

// take gives the receipts of a command, and stops following them.
func (q *receipts) take(e *ended) (theirs *Receipt) {
	id, payload, known := e.command()
	var others *Receipt
	for r := q.waiting[id]; r != nil; {
		next := r.next
		if r.payload == payload || !known || mutant.Is("receipt of another payload settled") {
			r.next, theirs = theirs, r
		} else {
			r.next, others = others, r
		}
		r = next
	}
	if delete(q.waiting, id); others != nil {
		q.waiting[id] = others
	}
	return theirs
}

// lose is for commands whose end could not be learned: those who wait look for it in the files.
func (q *receipts) lose(list []ended) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range list {
		for r := q.take(&e); r != nil; r = r.next {
			r.lost = true
			close(r.done)
		}
	}
}

// loseAll is lose for all commands of a shard. Of some the feedback queue, which begins at start by now, may have told before.
func (q *receipts) loseAll(shard int, start int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, r := range q.waiting {
		var others *Receipt // one id may have been sent with several keys
		for r != nil {
			next := r.next
			if r.Shard == shard {
				r.lost, r.unheard = true, true
				r.from.Store(max(r.from.Load(), start))
				close(r.done)
			} else {
				r.next, others = others, r
			}
			r = next
		}
		if q.waiting[id] = others; others == nil {
			delete(q.waiting, id)
		}
	}
}

// waitsFor tells whether somebody waits for a command.
func (q *receipts) waitsFor(id uuid.UUID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting[id] != nil
}

// command tells which command ended: several may have been sent under one id. The payload is not known when a task of the program's own
// made the error.
func (e *ended) command() (id uuid.UUID, payload [16]byte, known bool) {
	switch {
	case e.err != nil && e.err.origin != nil:
		return e.err.Command, e.err.origin.payload, true
	case e.err != nil:
		return e.err.Command, payload, false
	case e.commit.command != nil:
		return e.commit.Command, e.commit.command.payload, true
	}
	return e.commit.Command, e.commit.Payload, true
}

// release lets go of the command: it points into a transaction.
func (e *ended) release() {
	if e.commit != nil {
		e.commit.command = nil
	}
	if e.err != nil {
		e.err.origin = nil
	}
}

// close ends all waiting.
func (q *receipts) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for id, r := range q.waiting {
		for ; r != nil; r = r.next {
			close(r.done)
		}
		delete(q.waiting, id)
	}
}
