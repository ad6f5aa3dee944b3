// Package sim runs the library's own code against a simulated queue, store and clock, step by step in one goroutine, with faults, all
// chosen by one seed: the same seed gives the same history. When a history has come to its end all invariants are checked.
//
// A part of a process that would be a goroutine (the owner of a shard, a follower, a listener, a sender) is a coroutine here. Every call
// to the queue and the store yields, before and after its effect, and there the scheduler may run another, have the process crash, or let
// the call fail in one of the ways that the contracts of packages queue and store allow.
package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/steps"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// Options say which history to run.
type Options struct {
	Seed      uint64
	Commands  int       // how many are sent; 0 means 40
	Processes int       // at most; 0 means as many as the seed says
	Without   []string  // kinds of faults that are left out
	Only      []FaultID // the faults that happen; nil means all that the seed says
	Forgetful bool      // retention drops refusals of commands that come again
	Dir       string    // where files are made; "" means a folder of the system's
	Trace     io.Writer // hears what happens; nil for nothing
	hurry     bool      // what is found is looked at again
}

// Result is what came of a history.
type Result struct {
	Seed     uint64
	Trace    uint64         // a hash of all that happened
	Counts   map[string]int // how often what happened
	Commands int            // sent, or put into the queue by others
	Happened []FaultID      // the faults
	Faults   []string       // invariants that do not hold, each beginning with its number
}

// World is one history.
type World struct {
	opts      Options
	rng       *rand.Rand // for all that has no dice of its own
	turns     *rand.Rand // who runs
	orders    *rand.Rand // what is sent
	lot       *rand.Rand // what more there is to draw about a fault
	lotSource rand.PCG
	looking   *rand.Rand // who reads
	looked    []look
	seen      [][]seen // by shard, by outputs
	moments   int64
	happened  []FaultID
	now       time.Time
	ids       uint64
	chances   [numKinds]chance
	counts    map[string]int
	faults    []string
	hash      uint64
	ticks     int
	calm      bool // faults have ended
	opening   bool // a process is being opened
	refusing  bool // most commands are refused, now, and come again

	keep            uint64 // how many t of the past can be read; 0: all
	shards          int
	broker          *broker
	archive         *archive // nil: each process has an archive of its own
	procs           []*proc
	programs        map[string]steps.Process // by the code's version: one that was opened
	owners          []*proc                  // by shard: who the coordinator says owns it
	cur             *worker                  // who runs
	ready           []*worker                // who can run; kept so that its memory is used again
	dir             string
	reached         []uint64                 // by shard: the largest t that somebody showed
	digests         []map[uint64]cqrs.Digest // by shard and t, as the first process showed them
	told            []map[[32]byte]bool      // by shard: commands that the feedback queue told of
	sends           []*send
	toSend          int
	dropped         int // how often retention dropped feedback
	oldSends        int // sends that are too old to come again
	epoch           int
	disaster        kind // what has happened, after which nobody may go on who has seen what was before
	plannedDisaster kind
	remedied        kind   // the disaster that was, once what it takes was done
	bases           []base // by shard, then
	disasterAt      int
	ledgers         []*ledger
	lost            [][][32]byte      // by shard and t: the digests of the log before the disaster
	gone            [][]queue.Message // by shard: the log before the disaster
}

// worker is a coroutine.
type worker struct {
	name   string
	role   string
	proc   *proc
	shard  int
	next   func() (struct{}, bool)
	yield  func(struct{}) bool
	paused int  // until that tick
	idle   bool // it had nothing to do
	weight int
	ended  bool
}

// killed is what the panic has that unwinds a coroutine whose process crashed.
type killed struct{ proc *proc }

const (
	maxTicks      = 60000
	mostProcesses = 3 // that work shards
)

// Run runs one history.
func Run(o Options) (r Result) {
	w, err := newWorld(o)
	if err != nil {
		return Result{Seed: o.Seed, Faults: []string{"no history: " + err.Error()}}
	}
	defer w.end()
	defer func() {
		if p := recover(); p != nil {
			r = w.result()
			r.Faults = append(r.Faults, fmt.Sprintf("25: panic: %v\n%s", p, debug.Stack()))
		}
	}()
	w.work()
	w.heal()
	if w.disaster == none {
		w.drain()
		w.check()
	} else {
		w.checkDisaster()
		w.remedy()
	}
	return w.result()
}

func (w *World) result() Result {
	return Result{
		Seed: w.opts.Seed, Trace: w.hash, Counts: w.counts, Commands: w.broker.commands(), Happened: w.happened, Faults: w.faults,
	}
}

func newWorld(o Options) (*World, error) {
	dir, err := os.MkdirTemp(o.Dir, "sim-*")
	if err != nil {
		return nil, err
	}
	w := &World{
		opts: o, rng: dice(o, "rng"), turns: dice(o, "turns"), orders: dice(o, "orders"), looking: dice(o, "looks"), now: time.UnixMilli(1_700_000_000_000), dir: dir,
		counts: map[string]int{}, programs: map[string]steps.Process{}, toSend: o.commands(), hash: 14695981039346656037,
	}
	w.lot = rand.New(&w.lotSource)
	w.shards = 1 + w.rng.IntN(4)/3
	if w.rng.IntN(3) == 0 {
		w.keep = 4 + w.rng.Uint64N(8)
	}
	w.reached = make([]uint64, w.shards)
	for range w.shards {
		w.digests = append(w.digests, map[uint64]cqrs.Digest{})
		w.told = append(w.told, map[[32]byte]bool{})
		w.seen = append(w.seen, nil)
	}
	w.broker = newBroker(w)
	if w.rng.IntN(10) < 6 {
		w.archive = newArchive(w)
	}
	w.chooseFaults()
	w.planDisaster()
	w.owners = make([]*proc, w.shards)
	n := 1 + w.rng.IntN(mostProcesses)
	if o.Processes > 0 {
		n = min(n, o.Processes)
	}
	for n := range n {
		w.procs = append(w.procs, &proc{w: w, n: n, code: "1", dir: filepath.Join(dir, fmt.Sprintf("p%d", n))})
	}
	if w.rng.IntN(4) == 0 {
		w.procs[len(w.procs)-1].code = "2"
	}
	if w.rng.IntN(4) == 0 {
		w.procs = append(w.procs, &proc{w: w, n: len(w.procs), code: "1", sender: true})
	}
	return w, nil
}

// dice are thrown for one purpose: what is left out for another does not change them.
func dice(o Options, what string) *rand.Rand { return rand.New(rand.NewPCG(o.Seed, nameSeed(what))) }

func (w *World) end() {
	defer func() { _ = recover() }() // after a panic not all can be closed
	w.calm = true
	for _, p := range w.procs {
		p.crash()
	}
	_ = os.RemoveAll(w.dir)
}

// fault notes that an invariant does not hold.
func (w *World) fault(format string, args ...any) {
	f := fmt.Sprintf(format, args...)
	if w.disaster != none && !strings.HasPrefix(f, "16") {
		return // those who had not come to what is gone may go on, each on its own
	}
	w.tracef("FAULT %s", f)
	if len(w.faults) < 20 && !slices.Contains(w.faults, f) {
		w.faults = append(w.faults, f)
	}
}

func (w *World) count(what string) { w.counts[what]++ }

// note has something be part of the trace.
func (w *World) note(parts ...string) {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	w.hash = w.hash*1099511628211 ^ h.Sum64()
	if w.opts.Trace != nil {
		w.tracef("%s", strings.Join(parts, " "))
	}
}

func (w *World) tracef(format string, args ...any) {
	if w.opts.Trace == nil {
		return
	}
	who := "-"
	if w.cur != nil {
		who = w.cur.name
	}
	fmt.Fprintf(w.opts.Trace, "%5d %-12s %s\n", w.ticks, who, fmt.Sprintf(format, args...))
}

func (w *World) newID() (uuid.UUID, error) {
	w.ids++
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], rand.NewPCG(w.opts.Seed, w.ids).Uint64())
	ms := w.now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6], id[7] = byte(w.ids>>8)&0x0f|0x70, byte(w.ids)
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// work runs until all commands are sent, and a while longer.
func (w *World) work() {
	for _, p := range w.procs {
		p.open()
	}
	w.assignAll()
	rest := 200
	for w.ticks < maxTicks && rest > 0 && len(w.faults) == 0 {
		w.ticks++
		if w.toSend == 0 {
			rest--
		}
		w.broker.land()
		w.event()
		w.runOne()
	}
}

// runOne lets one coroutine run up to its next call.
func (w *World) runOne() {
	ready := w.ready[:0]
	for _, p := range w.procs {
		for _, k := range p.workers {
			if !k.ended && k.paused <= w.ticks {
				ready = append(ready, k)
				if k.weight > 1 {
					ready = append(ready, k, k, k)
				}
			}
		}
	}
	if w.ready = ready; len(ready) > 0 {
		w.resume(ready[w.turns.IntN(len(ready))])
	}
}

func (w *World) resume(k *worker) {
	w.cur = k
	w.hash = w.hash*1099511628211 ^ uint64(k.proc.n*16+k.shard+1)
	_, more := k.next()
	w.cur = nil
	k.ended = !more
	if k.proc.dying { // it crashed, or its power was cut
		k.proc.crash()
	}
}

// start makes a coroutine.
func (w *World) start(p *proc, name string, shard int, body func(*worker)) {
	k := &worker{name: fmt.Sprintf("p%d/%s%d", p.n, name, shard), role: name, proc: p, shard: shard, weight: 1}
	if name == "shard" {
		k.weight = 4
	}
	k.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ours := r.(killed); !ours {
					panic(r)
				}
			}
		}()
		k.yield = yield
		body(k)
	})
	p.workers = append(p.workers, k)
}

// pass lets others run, when a coroutine is running. Its process may be gone when it comes back.
func (w *World) pass() {
	k := w.cur
	if k == nil {
		return
	}
	if w.calm {
		if k.proc.dying {
			panic(killed{k.proc})
		}
		return
	}
	k.yield(struct{}{})
	if k.proc.dying {
		panic(killed{k.proc})
	}
}

// rest is pass at the end of a round.
func (k *worker) rest(w *World) {
	k.yield(struct{}{})
	if k.proc.dying {
		panic(killed{k.proc})
	}
}

// before is what every call begins with, and after what it ends with.
func (w *World) before(what string) {
	w.pass()
	w.mayCrash("before " + what)
}

func (w *World) after(what string) {
	w.mayCrash("after " + what)
	w.pass()
}

func (w *World) mayCrash(where string) {
	if w.cur != nil && w.happens(crash) {
		w.note("crash", where)
		w.count("crash " + where)
		w.cur.proc.dying = true
		panic(killed{w.cur.proc})
	}
}

// heal ends all faults.
func (w *World) heal() {
	w.note("heal")
	w.broker.settle()
	if w.archive != nil {
		w.archive.downUntil = 0
	}
	for _, p := range w.procs {
		for _, k := range p.workers {
			k.paused = 0
		}
	}
	for range 2000 { // those who are in the midst of a call come to its end
		w.ticks++
		w.runOne()
	}
	w.calm = true
	for _, p := range w.procs {
		p.restartAt = 0
		if !p.up {
			p.open()
		}
	}
	w.assignAll()
}

// drain runs all in turn until nobody has anything to do.
func (w *World) drain() {
	if len(w.faults) > 0 {
		return
	}
	quiet, bound := 0, 300+2*w.broker.messages()
	for round := 0; quiet < 3; round++ {
		if round > bound {
			w.fault("26: it does not become quiet: %s", strings.Join(w.busy(), ", "))
			return
		}
		quiet++
		for _, p := range w.procs {
			for _, k := range p.workers {
				w.ticks++
				w.resume(k)
				if !k.idle {
					quiet = 0
				}
			}
		}
	}
}

func (w *World) busy() (list []string) {
	for _, p := range w.procs {
		for _, k := range p.workers {
			if !k.idle {
				list = append(list, fmt.Sprintf("%s (%v)", k.name, p.last))
			}
		}
	}
	return list
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
