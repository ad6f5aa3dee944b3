package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/powercut"
	"github.com/cqrs-server/cqrs/internal/steps"
	"github.com/google/uuid"
)

// proc is a process: it runs, crashes, and is started again on what it left.
type proc struct {
	w        *World
	n        int
	dir      string
	code     string
	version  string // of the aggregate
	next     string // that is built beside it; "" is none
	versions int    // how many there were
	sender   bool   // it has no folder, and works no shard

	process   steps.Process
	rt        *cqrs.Runtime
	workers   []*worker
	waiting   []*send // of whose ends nobody has heard
	sending   bool    // it is sending
	owning    []bool  // by shard
	listening []bool  // by shard
	eager     int     // so many it sends at its next turns
	rooted    bool    // the next one is rooted in the newest t that it knows
	believes  []bool  // by shard: that it owns it
	gen       []int   // by shard: how often it was given it
	up        bool
	dying     bool
	killed    bool // while it was opened
	restartAt int
	starts    int
	last      error   // of its workers
	snapshot  []byte  // an older state of its folder
	reached   []int64 // by shard: up to where it has read the log
	shown     []shown // by shard; nil when its folder has become another
	stands    []stand

	disk *powercut.Watcher // of a history in which the power is cut
	cut  *cut              // the power has been
}

func (p *proc) config() cqrs.Config {
	c := cqrs.Config{
		Commands: allCommands(p.code), Events: allEvents(), Aggregator: aggregator{}, Tables: allTables(),
		Queue: &link{p.w.broker, p}, Shards: p.w.shards, Code: p.code, Version: p.version, NoSync: !p.w.chances[powerCut].on(), Log: quietLog(),
		Now: func() time.Time { return p.w.now }, NewID: func() (uuid.UUID, error) { return p.w.newID() },
		KeepHistory: p.w.keep, Batch: []int{1, 2, 3, 10, 1000}[(p.n+p.starts)%5],
	}
	if p.sender {
		c.Role = cqrs.Sender
	} else {
		c.Plan = p.plan()
	}
	if p.next != "" {
		c.Next = &cqrs.Aggregate{Version: p.next, Aggregator: aggregator{}, Tables: allTables()}
	}
	if p.w.archive != nil {
		c.Store = p.w.archive
	}
	return c
}

// open starts the process.
func (p *proc) open() {
	p.plugIn()
	p.w.opening, p.killed = true, false // a process that can't be started is started again: that is not what is looked at here
	process, err := steps.Open(p.dir, p.config(), steps.How{Like: p.w.programs[p.code], Commit: p.commit})
	p.w.opening = false
	if p.killed || errors.Is(err, errStore) || errors.Is(err, errThrottled) { // to build a version takes the store
		p.startLater(process)
		return
	}
	if err != nil {
		p.w.fault("17: process %d can't be started: %s", p.n, p.w.brief(err))
		return
	}
	p.w.programs[p.code] = process
	p.process, p.rt = process, process.Runtime().(*cqrs.Runtime)
	p.up, p.dying, p.believes, p.last = true, false, make([]bool, p.w.shards), nil
	p.gen, p.reached = make([]int, p.w.shards), make([]int64, p.w.shards)
	p.watchLasting()
	p.starts++
	p.owning, p.listening = make([]bool, p.w.shards), make([]bool, p.w.shards)
	p.sending, p.eager, p.rooted, p.waiting = false, 0, false, nil
	p.w.note("start", fmt.Sprint(p.n), p.version, p.next)
	for n := range p.w.shards {
		if !p.sender {
			p.w.start(p, "shard", n, p.workShard)
		}
		p.w.start(p, "listen", n, p.listen)
	}
	p.w.start(p, "send", 0, p.send)
}

// startLater starts the process again, later: it was killed while it was opened, or the store did not answer.
func (p *proc) startLater(process steps.Process) {
	p.w.note("not opened", fmt.Sprint(p.n))
	if !p.killed {
		p.w.count("a version can't be built yet")
	}
	if process != nil {
		process.Crash()
	}
	p.restartAt = p.w.ticks + 1 + p.w.lot.IntN(100)
}

// crash ends the process as a kill would.
func (p *proc) crash() {
	if !p.up {
		return
	}
	p.up, p.dying = false, true
	for _, k := range p.workers {
		for !k.ended {
			p.w.cur = k
			_, more := k.next()
			p.w.cur, k.ended = nil, !more
		}
	}
	p.workers = nil
	p.process.Crash()
	p.losePower()
	p.restartAt = p.w.ticks + 1 + p.w.rng.IntN(300)
	for n, owner := range p.w.owners {
		if owner == p && !p.w.calm {
			p.w.assign(n)
		}
	}
}

// result notes what a step of a worker gave.
func (p *proc) result(k *worker, n int, err error) {
	k.idle = n == 0 && err == nil
	if !p.sender {
		p.w.watchDigest(p, k.shard)
		p.watchShown(k.shard)
		p.reached[k.shard] = p.process.Reached(k.shard)
	}
	p.hearEnds()
	if p.last = err; err != nil {
		p.w.note("error", k.name, p.w.brief(err))
		p.w.watchError(p, k.shard, err)
	}
}

// brief is an error's text without what differs from run to run.
func (w *World) brief(err error) string {
	return fmt.Sprintf("%.300s", strings.ReplaceAll(err.Error(), w.dir, ""))
}

// workShard is the owner or the follower of a shard, as the process believes.
func (p *proc) workShard(k *worker) {
	for {
		if p.believes[k.shard] {
			p.own(k)
		} else {
			n, err := p.process.Follow(context.Background(), k.shard)
			p.result(k, n, err)
			k.rest(p.w)
		}
	}
}

func (p *proc) own(k *worker) {
	for p.listening[k.shard] { // an owner does not listen, and waits until its process has stopped to
		k.rest(p.w)
	}
	p.owning[k.shard] = true
	defer func() { p.owning[k.shard] = false }()
	o, err := p.process.Own(context.Background(), k.shard)
	p.result(k, 1, err)
	if err != nil {
		k.rest(p.w)
		return
	}
	p.w.count("ownership taken up")
	for gen := p.gen[k.shard]; p.believes[k.shard] && p.gen[k.shard] == gen; {
		k.rest(p.w)
		n, err := o.Step(context.Background())
		p.result(k, n, err)
		if err != nil && strings.Contains(err.Error(), "somebody else has written to the log") {
			p.w.count("batch interleaved")
		}
		if n == 0 && err == nil && (p.w.calm || p.w.rng.IntN(3) == 0) {
			o.Look(context.Background())
		}
	}
	p.result(k, 1, o.End(context.Background()))
	k.rest(p.w)
}

func (p *proc) listen(k *worker) {
	for {
		if p.owning[k.shard] {
			k.idle = true
			k.rest(p.w)
			continue
		}
		p.listening[k.shard] = true
		n, err := p.process.Listen(context.Background(), k.shard)
		p.listening[k.shard] = false
		p.result(k, n, err)
		k.rest(p.w)
	}
}

// send is a client.
func (p *proc) send(k *worker) {
	for {
		k.idle = true
		p.looks()
		if p.w.toSend > 0 && (p.eager > 0 || p.w.turns.IntN(4) == 0) {
			p.eager = max(p.eager-1, 0)
			p.w.toSend--
			p.sending = true
			p.sendOne()
			p.sending, p.rooted = false, p.eager == 1
		}
		if p.w.happens(resend) {
			p.sending = true
			p.result(k, 0, p.operate())
			p.sending = false
		}
		k.rest(p.w)
	}
}

func (p *proc) takeSnapshot() {
	var b bytes.Buffer
	if err := p.rt.Snapshot(context.Background(), &b); err != nil {
		p.w.fault("snapshot of process %d: %v", p.n, err)
	}
	p.snapshot = b.Bytes()
}

func (p *proc) restoreSnapshot() {
	p.shown = nil
	_ = os.RemoveAll(p.dir)
	if err := cqrs.Restore(context.Background(), p.dir, bytes.NewReader(p.snapshot)); err != nil {
		p.w.fault("restore of process %d: %v", p.n, err)
	}
}

// operate is what an operator does with dead letters: one of them is sent again, or taken off the list.
func (p *proc) operate() error {
	ctx := context.Background()
	list, err := p.rt.DeadLetters(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	letter := list[p.w.rng.IntN(len(list))]
	if p.w.rng.IntN(4) == 0 {
		p.w.count("dead letter discarded")
		return p.rt.Discard(ctx, letter)
	}
	p.w.count("dead letter sent again")
	return p.rt.Resend(ctx, letter)
}

// worker is one of the process's coroutines, or nil.
func (p *proc) worker(name string, shard int) *worker {
	for _, k := range p.workers {
		if !k.ended && k.role == name && (k.shard == shard || name == "send") {
			return k
		}
	}
	return nil
}
