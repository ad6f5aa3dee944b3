package bolt

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// run is a sorted run of entries, kept in chunks. Its level is the octave of its length: a run of n entries has
// level floor(log8(n)).
type run struct {
	number uint64
	level  int
	into   uint64 // the run that it is being merged into, or 0

	// All prefixes in it are between these two. While it is empty, least is beyond greatest.
	least, greatest uint64
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

func levelOf(entries int) int { return (bits.Len(uint(entries)) - 1) / 3 }

func (r *runs) add(level int) uint64 {
	r.last++
	r.all = append(r.all, run{number: r.last, level: level, least: math.MaxUint64})
	return r.last
}

// widen says that the run holds prefixes from least to greatest too.
func (r *runs) widen(number, least, greatest uint64) {
	for i := range r.all {
		if run := &r.all[i]; run.number == number {
			run.least, run.greatest = min(run.least, least), max(run.greatest, greatest)
		}
	}
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
		dst = binary.AppendUvarint(dst, uint64(run.level))
		dst = binary.AppendUvarint(dst, run.number)
		dst = binary.AppendUvarint(dst, run.into)
		dst = binary.BigEndian.AppendUint64(dst, run.least)
		dst = binary.BigEndian.AppendUint64(dst, run.greatest)
	}
	return dst
}

// size is what append adds at most.
func (r *runs) size() int {
	return 1 + binary.MaxVarintLen64 + len(r.all)*(3*binary.MaxVarintLen64+16)
}

// decode forgets what r held.
func (r *runs) decode(data []byte) error {
	*r = runs{all: r.all[:0]}
	if len(data) == 0 {
		return nil
	}
	if data[0] != runsVersion {
		return fmt.Errorf("an index by id has version %d, and this code reads version %d", data[0], runsVersion)
	}
	n := numbers{rest: data[1:]}
	for r.last = n.next(); len(n.rest) > 0; {
		level := n.next()
		n.bad = n.bad || level > math.MaxUint8
		r.all = append(r.all, run{level: int(level), number: n.next(), into: n.next(), least: n.fixed(), greatest: n.fixed()})
	}
	if n.bad {
		return fmt.Errorf("the list of runs of an index by id is cut off: %w", errDamaged)
	}
	return nil
}

// numbers reads numbers one after the other.
type numbers struct {
	rest []byte
	bad  bool
}

func (u *numbers) next() uint64 {
	v, n := binary.Uvarint(u.rest)
	if n <= 0 {
		u.bad, u.rest = true, nil
		return 0
	}
	u.rest = u.rest[n:]
	return v
}

// signed reads what binary.AppendVarint wrote.
func (u *numbers) signed() int64 {
	v := u.next()
	return int64(v>>1) ^ -int64(v&1)
}

func (u *numbers) fixed() uint64 {
	if len(u.rest) < 8 {
		u.bad, u.rest = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(u.rest)
	u.rest = u.rest[8:]
	return v
}
