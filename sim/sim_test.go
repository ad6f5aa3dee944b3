package sim_test

import (
	"flag"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/sim"
)

var (
	seed      = flag.Uint64("seed", 0, "run this history only, and tell what happens")
	commands  = flag.Int("commands", 0, "of that history: how many are sent; 0: as always")
	processes = flag.Int("processes", 0, "of that history: how many work shards, at most; 0: as many as the seed says")
	without   = flag.String("without", "", "of that history: kinds of faults that are left out, with ; between them")
	only      = flag.String("only", "", "of that history: the faults that happen, by their numbers, with , between them, or none; \"\": all")

	first     = flag.Uint64("first", 1, "the first history")
	histories = flag.Uint64("histories", 20000, "how many histories, at most; 0: as many as fit into -for")
	budget    = flag.Duration("for", 4*time.Minute, "how long histories are run, but no fewer than 2000; 0: until all are")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(1000) // a history holds little, and makes much
	os.Exit(m.Run())
}

// dir is where files are made: in memory where that is offered.
func dir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// TestSeed runs one history: go test ./sim -run TestSeed -seed N -v.
func TestSeed(t *testing.T) {
	if *seed == 0 {
		t.Skip("no -seed is given")
	}
	o := options(t)
	r := sim.Run(o)
	for _, f := range r.Faults {
		t.Error(f)
	}
	t.Log(r.Counts)
}

// sum is what many histories came to.
type sum struct {
	mu        sync.Mutex
	histories int
	commands  int
	counts    map[string]int
	failed    []sim.Result
}

func (s *sum) add(r sim.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histories++
	s.commands += r.Commands
	for k, n := range r.Counts {
		s.counts[k] += n
	}
	if len(r.Faults) > 0 {
		s.failed = append(s.failed, r)
	}
}

// limits say how many histories are run.
type limits struct {
	most  uint64
	least uint64    // however long they take
	until time.Time // zero: until all are run
}

func (l limits) more(n uint64) bool {
	return n < l.most && (n < l.least || l.until.IsZero() || time.Now().Before(l.until))
}

// runMany runs histories on all cores.
func runMany(from, n uint64) *sum { return runWith(from, limits{most: n}, sim.Options{}) }

func runWith(from uint64, l limits, o sim.Options) *sum {
	s := &sum{counts: map[string]int{}}
	var next atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; l.more(i); i = next.Add(1) - 1 {
				o := o
				o.Seed, o.Dir = from+i, dir()
				s.add(sim.Run(o))
			}
		})
	}
	all.Wait()
	return s
}

// Whatever happens, all invariants hold.
func TestHistories(t *testing.T) {
	if *seed != 0 {
		t.Skip("-seed asks for one history")
	}
	began := time.Now()
	s := runSome()
	s.report(t)
	t.Logf("%d histories with %d commands in %v", s.histories, s.commands, time.Since(began).Round(time.Second))
	if n := *histories; !testing.Short() && n > 0 && uint64(s.histories) < n {
		t.Logf("%d were asked for, and the time was over", n)
	}
	for _, k := range slices.Sorted(maps.Keys(s.counts)) {
		t.Logf("%8d %s", s.counts[k], k)
	}
	if s.histories >= enough {
		s.checkRare(t)
	}
}

// Where retention drops refusals, a command that was refused and comes again may be accepted (invariants 3 and 14 end there). But all accept it.
func TestForgottenRefusals(t *testing.T) {
	if *seed != 0 {
		t.Skip("-seed asks for one history")
	}
	s := runWith(2750, limits{most: 300}, sim.Options{Forgetful: true})
	for _, r := range s.failed {
		for _, f := range r.Faults {
			if !strings.HasPrefix(f, "14:") && !strings.HasPrefix(f, "3:") {
				t.Errorf("seed %d: %s", r.Seed, f)
			}
		}
	}
	if s.counts["accepted after a refusal that was forgotten"] == 0 {
		t.Error("nothing was accepted after a refusal that was forgotten")
	}
}

// least is how many histories are run, however long they take.
const least = 2000

// runSome runs as many histories as the flags say.
func runSome() *sum {
	l := limits{most: *histories, least: least}
	if *budget > 0 {
		l.until = time.Now().Add(*budget)
	}
	if l.most == 0 {
		l.most, l.least = math.MaxUint64, 0
	}
	if testing.Short() {
		l = limits{most: min(l.most, 400)}
	}
	return runWith(*first, l, sim.Options{})
}

// enough histories meet each situation: one that never occurs is not tested.
const enough = 1000

// rare are the situations that must occur.
var rare = []string{
	"void commit", "void refusal", "duplicate commit in the log", "duplicate refusal in the log", "batch interleaved", "two owners",
	"decided in the past: count", "decided in the past: edit", "refused: conflict", "refused: rejected", "refused: basis",
	"refused: validation", "failed fold", "folded again", "dead letter sent again", "dead letter discarded", "dead letter, and then decided",
	"foreign commit accepted", "id conflict told", "log dropped", "read of a pruned t", "history of rebuilds", "next version took over", "an output saw a commit again",
	"history of owners that overtake each other", "history of senders that are ahead of the owner", "history of replicas that fall far behind",
	"history without faults",
	"receipt: accepted", "receipt: rejected", "receipt: id-conflict", "receipt: process-command", "sent twice",
	"other payload under the same id", "send of unknown outcome", "send refused",
	"stopped after: topics made anew", "stopped after: log truncated", "stopped after: commands made anew",
	"work went on after: topics made anew", "work went on after: log truncated", "work went on after: commands made anew",
}

func (s *sum) checkRare(t *testing.T) {
	for _, what := range append(sim.Kinds(), rare...) {
		if s.counts[what] == 0 {
			t.Errorf("in %d histories it never occurred: %s", s.histories, what)
		}
	}
	for _, call := range []string{"append to commands", "append to events", "append to feedback", "append to dead", "read events",
		"bounds of events", "poll commands", "put", "put new", "output", "commit of commands", "commit of events"} {
		for _, when := range []string{"crash before ", "crash after "} {
			if s.counts[when+call] == 0 {
				t.Errorf("in %d histories there was no %s%s", s.histories, when, call)
			}
		}
	}
}

func TestTheSameSeedGivesTheSameHistory(t *testing.T) {
	for s := uint64(1); s <= 20; s++ {
		a := sim.Run(sim.Options{Seed: s, Dir: dir()})
		b := sim.Run(sim.Options{Seed: s, Dir: dir()})
		if a.Trace != b.Trace {
			t.Errorf("seed %d: the traces have the hashes %x and %x", s, a.Trace, b.Trace)
		}
	}
}
