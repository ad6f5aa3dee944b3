package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// fixed is a benchmark that gives one value.
func fixed(name string, value float64, err error) benchmark {
	return benchmark{
		goals: []goal{atLeast(name, 1, 2)},
		run:   func(*env) ([]float64, error) { return []float64{value}, err },
	}
}

func TestStatus(t *testing.T) {
	good, better, bad := fixed("good", 1, nil), fixed("better", 2, nil), fixed("bad", 0.5, nil)
	broken := fixed("broken", 0, errors.New("no disk"))
	unfit := good
	unfit.needs = func(*env) string { return "it needs a file" }
	cases := []struct {
		name   string
		list   []benchmark
		args   string
		status int
		out    string // holds this
	}{
		{"all met", []benchmark{good, better}, "", allMet, "goals=2 met=2 then=1 missed=0\n"},
		{"missed", []benchmark{good, bad}, "", goalMissed, "goals=2 met=1 then=0 missed=1 bad\n"},
		{"missed, reported", []benchmark{good, bad}, "-report", allMet, "missed=1 bad"},
		{"missed, and not wanted", []benchmark{good, bad}, "-only good", allMet, "goals=1 met=1"},
		{"others run behind a broken one", []benchmark{broken, good}, "-report", notRun, "bench good ratio=1 "},
		{"left out", []benchmark{better, unfit}, "", allMet, "goals=1 met=1"},
		{"none", []benchmark{good}, "-only nothing", notRun, ""},
		{"bad flag", []benchmark{good}, "-n 3", notRun, ""},
		{"argument", []benchmark{good}, "good", notRun, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"-n", "1000", "-dir", t.TempDir()}, strings.Fields(c.args)...)
			if got := run(args, c.list, &out, &errs); got != c.status {
				t.Errorf("status %d, and should be %d\n%s", got, c.status, &errs)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("%q is not in\n%s", c.out, &out)
			}
		})
	}
}

// TestBenchmarks runs all of them, small: what they measure is checked, how fast it is is not.
func TestBenchmarks(t *testing.T) {
	var out, errs bytes.Buffer
	dir := t.TempDir()
	args := []string{"-n", "1000", "-rounds", "1", "-report", "-dir", dir}
	if status := run(args, benchmarks, &out, &errs); status != allMet {
		t.Fatalf("status %d\n%s", status, &errs)
	}
	for _, b := range benchmarks {
		if b.needs != nil {
			continue
		}
		for _, g := range b.goals {
			if !strings.Contains(out.String(), "bench "+g.name+" ") {
				t.Errorf("no line %s in\n%s", g.name, &out)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}

func TestRaceGoesInTurns(t *testing.T) {
	cases := map[string]struct {
		budget time.Duration
		want   string
	}{
		"in time": {time.Hour, "ABABAB"},
		"late":    {-time.Hour, "AB"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := &env{errs: new(bytes.Buffer), deadline: time.Now().Add(c.budget)}
			order := ""
			turn := func(name string) contender {
				return contender{name, func(int) (usage, error) { order += name; return usage{}, nil }}
			}
			if _, err := race(e, 3, turn("A"), turn("B")); err != nil || order != c.want {
				t.Errorf("the order was %s (%v)", order, err)
			}
		})
	}
}
