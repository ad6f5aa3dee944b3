package sim

import (
	"slices"
	"strings"
	"time"
)

// Shrink looks for a smaller history that fails as r did, which is that of o: with fewer commands and processes, without kinds of faults,
// with fewer of the faults that are left. It ends when nothing more can be left out, or the time is over.
func Shrink(o Options, r Result, limit time.Duration) (Options, Result) {
	s := &shrinking{opts: o, result: r, invariant: invariantOf(r), until: time.Now().Add(limit)}
	s.opts.Trace, s.opts.hurry = nil, true
	s.onlyThose()
	for size := s.size(); ; size = s.size() {
		s.fewerKinds()
		s.fewerFaults()
		s.earlier()
		s.fewerCommands()
		s.fewerProcesses()
		if s.size() >= size || s.late() {
			s.opts.hurry = false
			return s.opts, Run(s.opts)
		}
	}
}

type shrinking struct {
	opts      Options // of the smallest so far
	result    Result
	invariant string
	until     time.Time
	tried     int
}

// invariantOf is the number of the first invariant that a history broke.
func invariantOf(r Result) string {
	if len(r.Faults) == 0 {
		return ""
	}
	number, _, _ := strings.Cut(r.Faults[0], ":")
	return number
}

func (s *shrinking) late() bool { return !time.Now().Before(s.until) }

// size is what becomes smaller.
func (s *shrinking) size() int { return s.opts.commands() + s.opts.Processes + len(s.result.Happened) }

// try runs a history, and keeps it when it fails in the same way.
func (s *shrinking) try(o Options) bool {
	if s.late() {
		return false
	}
	s.tried++
	r := Run(o)
	if invariantOf(r) != s.invariant {
		return false
	}
	s.opts, s.result = o, r
	return true
}

// onlyThose has the faults that happened be named, so that some can be left out.
func (s *shrinking) onlyThose() {
	o := s.opts
	o.Only = append([]FaultID{}, s.result.Happened...)
	s.try(o)
}

// fewerKinds leaves out all faults of a kind.
func (s *shrinking) fewerKinds() {
	for k := range numKinds {
		if ofKind := func(id FaultID) bool { return id.Kind == int(k) }; slices.ContainsFunc(s.result.Happened, ofKind) {
			o := s.opts
			o.Only = slices.DeleteFunc(append([]FaultID{}, s.result.Happened...), ofKind)
			s.try(o)
		}
	}
}

// fewerFaults leaves out a half of the faults, a quarter and so on, down to one.
func (s *shrinking) fewerFaults() {
	for part := (len(s.result.Happened) + 1) / 2; part > 0; part /= 2 {
		for at := 0; at < len(s.result.Happened); {
			list := s.result.Happened // it becomes shorter when one is left out, and those behind may then not happen
			o := s.opts
			o.Only = append(append([]FaultID{}, list[:at]...), list[min(at+part, len(list)):]...) // never nil, which means all
			if !s.try(o) {
				at += part
			}
		}
	}
	s.opts.Only = append([]FaultID{}, s.result.Happened...) // those that were named and did not happen change nothing
}

// earlier has one of the first faults of its kind happen in the place of a later one, when few are left: then fewer commands will do.
func (s *shrinking) earlier() {
	if len(s.opts.Only) > 4 {
		return
	}
	for i := 0; i < len(s.opts.Only); i++ {
		for n := 1; i < len(s.opts.Only) && n < min(s.opts.Only[i].N, 10); n++ {
			o := s.opts
			o.Only = slices.Clone(o.Only)
			if o.Only[i].N = n; s.try(o) {
				break
			}
		}
	}
}

func (s *shrinking) fewerCommands() {
	for _, share := range []int{1, 2, 3, 4, 5, 6, 7} {
		for o := s.opts; ; {
			n := o.commands() * share / 8
			if o.Commands = n; n < 1 || !s.try(o) {
				break
			}
		}
	}
	for o := s.opts; o.commands() > 1; {
		if o.Commands = o.commands() - 1; !s.try(o) {
			return
		}
	}
}

func (s *shrinking) fewerProcesses() {
	for n := 1; n < mostProcesses; n++ {
		o := s.opts
		if o.Processes > 0 && o.Processes <= n {
			return
		}
		if o.Processes = n; s.try(o) {
			return
		}
	}
}

// commands is how many are sent.
func (o *Options) commands() int {
	if o.Commands == 0 {
		return 40
	}
	return o.Commands
}
