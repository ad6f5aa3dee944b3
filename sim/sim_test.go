package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/sim"
)

var (
	seed      = flag.Uint64("seed", 0, "run this history only, and tell what happens")
	first     = flag.Uint64("first", 1, "the first history")
	histories = flag.Uint64("histories", 200, "how many histories")
)

// dir is where files are made: in memory where that is offered.
func dir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func TestOne(t *testing.T) {
	if *seed == 0 {
		t.Skip("no -seed is given")
	}
	r := sim.Run(sim.Options{Seed: *seed, Trace: os.Stdout, Dir: dir()})
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

// runMany runs histories on all cores.
func runMany(from, n uint64) *sum {
	s := &sum{counts: map[string]int{}}
	var next atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				s.add(sim.Run(sim.Options{Seed: from + i, Dir: dir()}))
			}
		})
	}
	all.Wait()
	return s
}

func TestMany(t *testing.T) {
	began := time.Now()
	s := runMany(*first, *histories)
	for _, r := range s.failed {
		for _, f := range r.Faults {
			t.Errorf("seed %d: %s", r.Seed, f)
		}
	}
	t.Logf("%d histories with %d commands in %v", s.histories, s.commands, time.Since(began))
	for _, k := range slices.Sorted(maps.Keys(s.counts)) {
		t.Log(fmt.Sprintf("%8d %s", s.counts[k], k))
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
