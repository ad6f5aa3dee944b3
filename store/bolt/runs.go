package bolt

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// run is a sorted run of entries, kept in chunks. Its level is the octave of its length: a run of n entries has
// level floor(log8(n)).
type run struct {
	number uint64
	level  int
	into   uint64 // the run that it is being merged into, or 0
}

// runs says which runs there are. It changes in the transaction that changes them.
type runs struct {
	last uint64 // the last number given
	all  []run
}

const (
	runsVersion = 1
	fanOut      = 8 // so many runs of a level become one of the next
)

var runsKey = []byte("runs")

func levelOf(entries int) int { return (bits.Len(uint(entries)) - 1) / 3 }

func (r *runs) add(level int) uint64 {
	r.last++
	r.all = append(r.all, run{number: r.last, level: level})
	return r.last
}

// plan starts the merges that have become due.
func (r *runs) plan() {
	for level := 0; level <= r.top(); level++ {
		for idle := r.idle(level); len(idle) >= fanOut; idle = idle[fanOut:] {
			target := r.add(level + 1)
			for _, i := range idle[:fanOut] {
				r.all[i].into = target
			}
		}
	}
}

func (r *runs) top() (level int) {
	for _, run := range r.all {
		level = max(level, run.level)
	}
	return level
}

// idle are the places of a level's runs that are neither merged nor being made by a merge.
func (r *runs) idle(level int) (places []int) {
	open := r.targets()
	for i, run := range r.all {
		if run.level == level && run.into == 0 && !slices.Contains(open, run.number) {
			places = append(places, i)
		}
	}
	return places
}

// targets are the runs that merges are making.
func (r *runs) targets() (open []uint64) {
	for _, run := range r.all {
		if run.into != 0 && !slices.Contains(open, run.into) {
			open = append(open, run.into)
		}
	}
	return open
}

func (r *runs) sources(target uint64) (numbers []uint64) {
	for _, run := range r.all {
		if run.into == target {
			numbers = append(numbers, run.number)
		}
	}
	return numbers
}

func (r *runs) remove(number uint64) {
	r.all = slices.DeleteFunc(r.all, func(run run) bool { return run.number == number })
}

func (r *runs) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, runsVersion), r.last)
	for _, run := range r.all {
		dst = append(dst, byte(run.level))
		dst = binary.AppendUvarint(dst, run.number)
		dst = binary.AppendUvarint(dst, run.into)
	}
	return dst
}

func (r *runs) decode(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if data[0] != runsVersion {
		return fmt.Errorf("the index by event id has version %d, and this code reads version %d", data[0], runsVersion)
	}
	n := uvarints{rest: data[1:]}
	for r.last = n.next(); len(n.rest) > 0; {
		r.all = append(r.all, run{level: int(n.next()), number: n.next(), into: n.next()})
	}
	if n.bad {
		return fmt.Errorf("the list of runs of the index by event id is cut off: %w", errDamaged)
	}
	return nil
}

type uvarints struct {
	rest []byte
	bad  bool
}

func (u *uvarints) next() uint64 {
	v, n := binary.Uvarint(u.rest)
	if n <= 0 {
		u.bad, u.rest = true, nil
		return 0
	}
	u.rest = u.rest[n:]
	return v
}
