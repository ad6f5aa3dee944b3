package main

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// usage is what a run took.
type usage struct {
	n       int // commands
	wall    time.Duration
	cpu     time.Duration // of this process, user and system
	mallocs uint64
	disk    int64 // bytes of its files at the end
}

func (u usage) rate() float64    { return float64(u.n) / u.wall.Seconds() }
func (u usage) cpuEach() float64 { return u.cpu.Seconds() / float64(u.n) }
func (u usage) allocs() float64  { return float64(u.mallocs) / float64(u.n) }

func (u usage) String() string {
	return fmt.Sprintf("%.0f/s, %.2f s CPU per 100,000, %.0f allocations each", u.rate(), u.cpuEach()*1e5, u.allocs())
}

// measure runs a function on n commands.
func measure(n int, run func() error) (usage, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, err := cpuTime()
	if err != nil {
		return usage{}, err
	}
	began := time.Now()
	if err := run(); err != nil {
		return usage{}, err
	}
	u := usage{n: n, wall: time.Since(began)}
	end, err := cpuTime()
	runtime.ReadMemStats(&after)
	u.cpu, u.mallocs = end-cpu, after.Mallocs-before.Mallocs
	return u, err
}

// cpuTime is what this process has used.
func cpuTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("the CPU time of this process can't be read: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// contender does the work once. round tells its runs apart.
type contender struct {
	name string
	run  func(round int) (usage, error)
}

// pair is what two contenders took in the same round.
type pair struct{ ours, peer usage }

// race runs two contenders in turns, so that what else the machine does falls on both. When it is late, one round must do.
func race(e *env, rounds int, ours, peer contender) ([]pair, error) {
	var pairs []pair
	for round := 0; round == 0 || round < rounds && !e.late(); round++ {
		var p pair
		for _, turn := range []struct {
			contender
			into *usage
		}{{ours, &p.ours}, {peer, &p.peer}} {
			u, err := turn.run(round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", turn.name, err)
			}
			e.say("  %-22s %v", turn.name, u)
			*turn.into = u
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// ratio is the median over the rounds of ours to the peer's.
func ratio(pairs []pair, of func(usage) float64) float64 {
	ratios := make([]float64, len(pairs))
	for i, p := range pairs {
		ratios[i] = of(p.ours) / of(p.peer)
	}
	return median(ratios)
}

// median is the middle one; the mean of the two middle ones of an even number.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}
