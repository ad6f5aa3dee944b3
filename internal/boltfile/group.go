package boltfile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// group gathers the calls that wait for a transaction. At any time when calls wait, either a host has been woken
// since, or a leader is running that will look again.
type group struct {
	mu      sync.Mutex
	waiting []*call
	leading bool // a goroutine commits for all
	leaders sync.WaitGroup
	host    *host // set while a worker commits for all
	closed  bool
}

type host struct{ wake func() }

type call struct {
	ctx  context.Context
	fn   func(*bbolt.Tx) error
	with Together // instead of fn
	item any
	done chan error // takes one value
}

// Together writes what several calls bring, in one go.
type Together interface {
	// Run writes the items in their order. It may run more than once, and must not have written anything when it returns an
	// error, which then is the error of all these calls.
	Run(tx *bbolt.Tx, items []any) error
}

// Update runs fn in a write transaction, together with the calls of others that wait at the time, and returns when
// it is durable. fn may run more than once and on another goroutine, must not panic, and must not have written anything
// when it returns an error, which then is the error of this call alone.
//
// When ctx ends before a transaction has taken the call, it never will, and the error is ctx's. A call that was
// taken is waited for a little while longer; when the transaction still has not ended then, the error is ErrUnknown and ctx's.
func (f *File) Update(ctx context.Context, fn func(*bbolt.Tx) error) error {
	return f.wait(newCall(ctx, fn, nil, nil))
}

// spare holds calls that have been told their outcome: they are used again.
var spare = sync.Pool{New: func() any { return &call{done: make(chan error, 1)} }}

func newCall(ctx context.Context, fn func(*bbolt.Tx) error, with Together, item any) *call {
	c := spare.Get().(*call)
	c.ctx, c.fn, c.with, c.item = ctx, fn, with, item
	return c
}

// told gives the call back: nobody else holds it any more.
func (c *call) told(err error) error {
	c.ctx, c.fn, c.with, c.item = nil, nil, nil, nil
	spare.Put(c)
	return err
}

// UpdateTogether is Update for calls that are cheaper when they are written at once: what waits with the same Together is given to
// one Run.
func (f *File) UpdateTogether(ctx context.Context, with Together, item any) error {
	return f.wait(newCall(ctx, nil, with, item))
}

func (f *File) wait(c *call) error {
	ctx := c.ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.join(c); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return c.told(err)
	case <-ctx.Done():
	}
	if f.group.withdraw(c) {
		return ctx.Err()
	}
	return c.outcomeSoon(f.path)
}

// settling is longer than a transaction takes in which nobody's code waits for something.
const settling = 250 * time.Millisecond

// outcomeSoon waits for a call that a transaction has taken, and whose context has ended.
func (c *call) outcomeSoon(path string) error {
	timer := time.NewTimer(settling)
	defer timer.Stop()
	select {
	case err := <-c.done:
		return err
	case <-timer.C:
		return fmt.Errorf("write %s: %w: the transaction has not ended yet: %w", path, ErrUnknown, c.ctx.Err())
	}
}

// join adds a call, and sees to it that somebody commits.
func (f *File) join(c *call) error {
	g := &f.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.waiting = append(g.waiting, c)
	f.seeToLeader()
	return nil
}

// seeToLeader wakes the host, or else starts a goroutine that commits. The group is locked, and calls wait.
func (f *File) seeToLeader() {
	g := &f.group
	switch {
	case g.host != nil:
		g.host.wake()
	case !g.leading:
		g.leading = true
		g.leaders.Go(f.lead)
	}
}

func (g *group) withdraw(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, c)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// lead commits for all that wait until nobody does, or until a worker takes over.
func (f *File) lead() {
	for f.group.stillLeading() {
		f.commitWaiting()
	}
}

func (f *File) commitWaiting() {
	tx, err := f.Begin()
	if err != nil {
		finish(f.group.take(), err)
		return
	}
	tx.TakeWaiting()
	if len(tx.calls) == 0 { // a host was faster, or all were refused: nothing is worth an fsync
		_ = tx.Rollback()
		return
	}
	_ = tx.Commit() // each call has been told
}

func (g *group) stillLeading() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leading = len(g.waiting) > 0 && g.host == nil
	return g.leading
}

func (g *group) take() []*call {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.waiting
	g.waiting = nil
	return calls
}

// giveBack puts calls that a transaction had taken in front of those that wait, less those whose context has ended.
func (f *File) giveBack(calls []*call) {
	g := &f.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		finish(calls, ErrClosed)
		return
	}
	calls = slices.DeleteFunc(calls, (*call).abandoned)
	if len(calls) == 0 {
		return
	}
	g.waiting = append(calls, g.waiting...)
	f.seeToLeader()
}

// abandoned ends a call that is in no transaction when its context has ended.
func (c *call) abandoned() bool {
	err := c.ctx.Err()
	if err != nil {
		c.done <- err
	}
	return err != nil
}

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	finish(g.waiting, ErrClosed)
	g.waiting = nil
	g.mu.Unlock()
	g.leaders.Wait()
}

func finish(calls []*call, err error) {
	for _, c := range calls {
		c.done <- err
	}
}

// TakeWaiting runs the calls that wait inside the transaction, and tells how many it took. Commit tells them the outcome.
func (t *Tx) TakeWaiting() int {
	calls := t.file.group.take()
	for rest := calls; len(rest) > 0; {
		var now []*call
		now, rest = split(rest)
		if err := t.run(now); err != nil {
			finish(now, err)
			continue
		}
		t.calls = append(t.calls, now...)
	}
	return len(calls)
}

// split takes the first call, and all that are to run together with it.
func split(calls []*call) (now, rest []*call) {
	with := calls[0].with
	if with == nil {
		return calls[:1], calls[1:]
	}
	i := slices.IndexFunc(calls, func(c *call) bool { return c.with != with })
	if i < 0 {
		return calls, nil
	}
	for _, c := range calls {
		if c.with == with {
			now = append(now, c)
		} else {
			rest = append(rest, c)
		}
	}
	return now, rest
}

// run runs calls. When one of them meets damage, it may have written, so that nothing of the transaction is kept.
func (t *Tx) run(calls []*call) (err error) {
	if t.broken != nil {
		return t.broken
	}
	defer func() { err = errors.Join(err, t.broken) }()
	defer t.file.Guard(&t.broken, debug.SetPanicOnFault(true))
	return run(t.Tx, calls)
}

func run(tx *bbolt.Tx, calls []*call) error {
	if calls[0].with == nil {
		return calls[0].fn(tx)
	}
	items := make([]any, len(calls))
	for i, c := range calls {
		items[i] = c.item
	}
	return calls[0].with.Run(tx, items)
}

// Waiting tells whether a call of Update waits.
func (f *File) Waiting() bool {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	return len(f.group.waiting) > 0
}

// Host makes the caller the one who commits for all: wake is called (under a lock: it must not wait, nor call the file)
// whenever a call of Update waits, and the host's transactions are to take it along. The returned function ends it. A later
// Host takes the place of an earlier one.
func (f *File) Host(wake func()) (release func()) {
	h := &host{wake}
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	f.group.host = h
	if len(f.group.waiting) > 0 {
		wake()
	}
	return func() { f.unhost(h) }
}

func (f *File) unhost(h *host) {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	if f.group.host != h {
		return
	}
	f.group.host = nil
	if len(f.group.waiting) > 0 {
		f.seeToLeader()
	}
}
