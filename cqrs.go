// Package cqrs is a runtime for command/query responsibility segregation and event sourcing, embedded in a Go program.
//
// A program registers its command and event types and calls Send. A command goes to a queue, is coerced into its Go type and decided
// (ProcessCommand) against the aggregate's value; the events it gives are one commit of the log, go to the event store by
// id, for ever, and are folded (AggregateEvent) into tables that can be read as of any t. The sender hears of the result. Anything may
// be delivered twice, and any process may die at any moment: the effect happens once.
//
// Without servers everything is kept in bbolt files in one folder, durably, in one process.
//
// The words are: a command is a request that may be refused; an event is a past-tense fact; a commit is all events of one
// command; a shard is one totally ordered world with its log and its aggregate; t counts the commits accepted in a shard; the
// basis is the t that a command's sender knew; a view is the aggregate's immutable value at one t.
package cqrs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// Runtime runs commands. Its methods may be called from many goroutines.
type Runtime struct {
	cfg      Config
	types    *registry
	queue    queue.Queue
	store    store.Store      // nil for a Sender without one
	embedded *boltqueue.Queue // the queue in the shards' files; nil when there is another
	files    []*boltfile.File
	shards   []*Shard
	receipts receipts
	owns     []func() error  // closes what Open opened beside the files
	stepped  bool            // nothing runs in the background: see package steps
	sim      *stepping       // says more, then
	life     context.Context // of what runs in the background; ends with Close
	end      context.CancelFunc

	mu      sync.Mutex
	closed  bool
	cancel  context.CancelFunc // of Run
	running sync.WaitGroup
}

// Open opens the data folder, making it when it is not there. All faults of the Config come in one error. One
// process at a time can have a folder open: another gets ErrLocked.
func Open(dir string, config Config) (*Runtime, error) { return open(dir, config, nil) }

// open opens a runtime that runs by itself, or that a simulation runs step by step.
func open(dir string, config Config, sim *stepping) (*Runtime, error) {
	cfg := config.withDefaults()
	types, err := sim.registry(cfg)
	if err := errors.Join(err, cfg.check()); err != nil {
		return nil, fmt.Errorf("cqrs: open %s: %w", dir, err)
	}
	rt := &Runtime{cfg: cfg, types: types, stepped: sim != nil, sim: sim, receipts: receipts{max: cfg.MaxInFlight, waiting: map[uuid.UUID]*Receipt{}}}
	rt.life, rt.end = context.WithCancel(context.Background())
	if err := rt.open(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("cqrs: open %s: %w", dir, err), rt.closeFiles())
	}
	return rt, nil
}

func (c *Config) checkNext() (err error) {
	if c.Next == nil {
		return nil
	}
	if c.Next.Name != "" || c.Next.Version == "" || !plainName.MatchString(c.Next.Version) {
		err = fmt.Errorf("Next: Name is %q, and must be empty; Version is %q, and must be letters, digits, - and _", c.Next.Name, c.Next.Version)
	}
	if c.Next.Version == c.Version {
		err = errors.Join(err, fmt.Errorf("Next: Version is %q, as that of the Config: what changes the tables needs a version of its own", c.Version))
	}
	if c.Next.Aggregator == nil {
		err = errors.Join(err, errors.New("Next: Aggregator is nil"))
	}
	if wrong := checkTables(c.Next.Tables); wrong != nil {
		err = errors.Join(err, fmt.Errorf("Next: %w", wrong))
	}
	return err
}

func (rt *Runtime) open(dir string) error {
	if rt.cfg.Queue != nil || rt.cfg.Store != nil {
		return rt.openServed(dir)
	}
	if err := rt.openFiles(dir); err != nil {
		return err
	}
	rt.embedded = boltqueue.On(rt.files...)
	rt.queue, rt.store = rt.embedded, boltstore.On(rt.files...)
	rt.owns = append(rt.owns, rt.queue.Close, rt.store.Close)
	return rt.openShards(dir)
}

// openFiles opens the file of each shard.
func (rt *Runtime) openFiles(dir string) error {
	if err := checkShards(dir, rt.cfg.Shards); err != nil {
		return err
	}
	for n := rt.cfg.Shards - 1; n >= 0; n-- { // the last one first: it tells how many there are to be, if the making is cut short
		file, err := boltfile.Open(filepath.Join(dir, shardFile(n)), boltfile.Options{
			Kind: "cqrs-shard", Timeout: rt.cfg.LockTimeout, NoSync: rt.cfg.NoSync || mutant.Is("files not synced"),
		})
		if errors.Is(err, boltfile.ErrLocked) {
			return fmt.Errorf("%w: %w", ErrLocked, err)
		}
		if err != nil {
			return err
		}
		rt.sim.take(file, n)
		rt.files = append(rt.files, file)
	}
	slices.Reverse(rt.files)
	return nil
}

func (rt *Runtime) openShards(dir string) error {
	aggs, nexts, err := rt.openMains(rt.files[:rt.cfg.Shards])
	if err != nil {
		return err
	}
	for n, agg := range aggs {
		s, err := newShard(rt, n, rt.files[n], agg)
		if err != nil {
			return err
		}
		if nexts[n] != nil {
			s.next = newNextVersion(s, nexts[n])
		}
		rt.shards = append(rt.shards, s)
		for _, a := range rt.cfg.Aggregates {
			f, err := openFollower(dir, s, a)
			if err != nil {
				return err
			}
			s.followers = append(s.followers, f)
		}
	}
	return nil
}

// openMains opens the aggregates of the shards, several at a time: they may have to be built. nexts are to be built beside them.
func (rt *Runtime) openMains(files []*boltfile.File) (aggs, nexts []*aggregate, err error) {
	aggs, nexts = make([]*aggregate, len(files)), make([]*aggregate, len(files))
	errs := make([]error, len(files))
	room := make(chan struct{}, rt.sim.atOnce())
	var all sync.WaitGroup
	for n, file := range files {
		room <- struct{}{}
		all.Go(func() {
			aggs[n], nexts[n], errs[n] = openMain(context.Background(), rt, file, n)
			<-room
		})
	}
	all.Wait()
	return aggs, nexts, errors.Join(errs...)
}

func shardFile(n int) string { return fmt.Sprintf("shard-%d.db", n) }

// checkShards refuses a folder that was made with another number of shards: its keys would be looked for in the wrong ones.
func checkShards(dir string, want int) error {
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	found, files, first := 0, 0, false
	for _, e := range list {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "shard-"), ".db"))
		if err == nil && n >= 0 && e.Name() == shardFile(n) {
			found, files, first = max(found, n+1), files+1, first || n == 0
		}
	}
	switch {
	case first && files < found: // the first one is made last
		return fmt.Errorf("the folder was made with Shards %d, and has the files of %d: restore it from a snapshot", found, files)
	case found == 0 || found == want:
		return nil
	}
	return fmt.Errorf("the folder was made with Shards %d, and Config.Shards is %d: set it to %d, "+
		"or open another folder and send the commands there", found, want, found)
}

// Run does the work of the runtime: it takes commands from the queue, decides them and brings their effects about. It blocks until ctx
// ends or Close is called, finishes the batch under way, and returns nil. A program that only sends and reads does not
// call it. Errors of the disk and the like are tried again, with backoff, and seen in the log and in Health.
func (rt *Runtime) Run(ctx context.Context) error {
	ctx, err := rt.start(ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer rt.running.Done()
	defer rt.stopped()
	following, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	for _, s := range rt.shards {
		for _, f := range s.followers {
			followers.Go(func() { f.run(following) })
		}
		if s.served == nil {
			followers.Go(func() { s.next.run(following) })
		}
	}
	err = rt.own(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// own does the work of the shards that this process is given.
func (rt *Runtime) own(ctx context.Context) error {
	if rt.cfg.Role != Worker {
		<-ctx.Done()
		return nil
	}
	return rt.queue.Own(ctx, topicCommands, func(ctx context.Context, shard int) error {
		if shard >= len(rt.shards) {
			return fmt.Errorf("cqrs: the queue gives out shard %d, and there are %d", shard, len(rt.shards))
		}
		if s := rt.shards[shard]; s.served != nil {
			return s.serve(ctx)
		}
		return rt.shards[shard].run(ctx)
	})
}

func (rt *Runtime) start(ctx context.Context) (context.Context, error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return nil, ErrClosed
	}
	if rt.cancel != nil {
		return nil, errors.New("cqrs: Run is running already")
	}
	ctx, rt.cancel = context.WithCancel(ctx)
	rt.running.Add(1)
	return ctx, nil
}

func (rt *Runtime) stopped() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.cancel()
	rt.cancel = nil
}

// idle tells that nobody does the work: in other processes nobody can, and here Run is not running.
func (rt *Runtime) idle() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.embedded != nil && rt.cancel == nil
}

// Close ends Run, waits for it, and closes the files. Calls that wait return ErrClosed. A second Close does nothing.
func (rt *Runtime) Close() error {
	rt.mu.Lock()
	first := !rt.closed
	rt.closed = true
	if rt.cancel != nil {
		rt.cancel()
	}
	rt.mu.Unlock()
	rt.running.Wait()
	if !first {
		return nil
	}
	rt.receipts.close()
	return rt.closeFiles()
}

func (rt *Runtime) closeFiles() (err error) {
	rt.end()
	for _, s := range rt.shards {
		if s.release != nil {
			s.release()
		}
		s.next.wait()
	}
	for _, s := range rt.shards {
		s.closed()
		for _, f := range s.followers {
			f.closed()
		}
	}
	for _, end := range rt.owns {
		err = errors.Join(err, end())
	}
	for _, f := range rt.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// ShardOf is the shard that a command with this key goes to.
func (rt *Runtime) ShardOf(key string) int {
	if len(rt.shards) == 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(len(rt.shards)))
}

// Shard gives a shard by its number, from 0 on.
func (rt *Runtime) Shard(n int) *Shard { return rt.shards[n] }

// View is the newest value of the first shard, which is the only one unless Config.Shards says otherwise.
func (rt *Runtime) View() View { return rt.shards[0].View() }

// AsOf is the value of the first shard at t. A t that is still to come gives ErrFuture when the view is read.
func (rt *Runtime) AsOf(t uint64) View { return rt.shards[0].AsOf(t) }

// Store is the event store; nil of a Sender without one.
func (rt *Runtime) Store() store.Store { return rt.store }
