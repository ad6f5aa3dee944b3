package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// chainLines is what -delays prints of the longest chains.
func chainLines(planes []Plane) (list []string) {
	for _, p := range planes {
		c := p.Longest
		list = append(list, fmt.Sprintf("%s %d %d %d %s %s %s", p.Tail, c.Length, p.Departures, c.Minutes, minute(c.From), c.Where, minute(c.To)))
	}
	return list
}

func checkChains(t *testing.T, out string, commands []modelCommand) {
	t.Helper()
	want := chainLines(modelLongest(modelPlanes(t, commands), 10))
	got := lines(out)
	if n := len(want); n != 10 || len(got) < n || !slices.Equal(got[len(got)-n:], want) {
		t.Errorf("got\n%s\nwanted\n%s", out, strings.Join(want, "\n"))
	}
}

// The second aggregate is built over data that was there before it, and is as if it had always been there: also as of the past.
func TestDelaysAddedLater(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	var out, errs bytes.Buffer
	if err := run(context.Background(), []string{"-data", dir, "-delays"}, nil, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	checkChains(t, out.String(), commands)
	if bar := errs.String(); !strings.Contains(bar, "\rdelays [") || !strings.Contains(bar, "##] 100%  6000 of 6000 commits") {
		t.Errorf("the bar: %q", bar)
	}
	at, _ := parseInstant("2013-01-02 12:00")
	checkChains(t, ask(t, dir, "-delays", "-asof", "2013-01-02 12:00"), until(commands, at))
	checkPlanes(t, dir, commands)
}

// Given from the beginning, it follows while the commands are sent.
func TestDelaysFromTheBeginning(t *testing.T) {
	dir, commands := t.TempDir(), sliceCommands(t)
	var out, errs bytes.Buffer
	if err := run(context.Background(), []string{"-data", dir, "-batch", "300", "-delays", slice}, nil, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	checkChains(t, out.String(), commands)
	checkPlanes(t, dir, commands)
}

// Without -delays the aggregate is left out, and later goes on where it was.
func TestDelaysLeftOutForAWhile(t *testing.T) {
	dir, commands := t.TempDir(), sliceCommands(t)
	half := filepath.Join(dir, "half.ndjson")
	s, err := openStream(slice, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var text bytes.Buffer
	for range 2500 {
		line, _ := s.lines.ReadBytes('\n')
		text.Write(line)
	}
	if err := os.WriteFile(half, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	checkChains(t, runOn(t, dir, "-delays", half), commands[:2500])
	runOn(t, dir, slice)
	checkChains(t, ask(t, dir, "-delays"), commands)
	checkPlanes(t, dir, commands)
}

func runOn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if err := run(context.Background(), append([]string{"-data", dir}, args...), nil, &out, &errs); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// checkPlanes compares the row of every aircraft, and looks that nothing stays that is not needed.
func checkPlanes(t *testing.T, dir string, commands []modelCommand) {
	t.Helper()
	rt := open(t, dir, withDelays(config(), nil))
	defer rt.Close()
	side, want := rt.Shard(0).Aggregate(delaysName), modelPlanes(t, commands)
	got := map[string]Plane{}
	for _, p := range rows(t, Planes.All(side.View())) {
		got[p.Tail] = p
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d aircraft, wanted %d", len(got), len(want))
		for tail, p := range want {
			if got[tail] != p {
				t.Fatalf("got %+v, wanted %+v", got[tail], p)
			}
		}
	}
	waiting := where(modelFlights(t, commands), func(f Flight) bool { return f.Tail != "" && f.State == scheduled }, byKey)
	if n, err := plans.Whole().Count(side.View()); err != nil || n != len(waiting) {
		t.Errorf("%d flights wait for their departure, wanted %d (%v)", n, len(waiting), err)
	}
	mine, t1 := side.Digest()
	if theirs, t2 := rt.Shard(0).Digest(); mine != theirs || t1 != t2 || side.Failed() != 0 {
		t.Errorf("t %d and %d, digests %x and %x, %d failed", t1, t2, mine, theirs, side.Failed())
	}
}

// Killed with -9 ten times in the middle of building, the second aggregate comes out the same.
func TestKilledWhileBuilding(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	began := time.Now()
	checkBuilt(t, dir, commands)
	whole := time.Since(began)
	dropDelays(t, dir)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, building takes %v", seed, whole)
	random, middle := rand.New(rand.NewPCG(seed, 0)), 0
	for n := 0; n < 10; {
		if !killBuilding(t, dir, time.Duration(random.Int64N(int64(whole)))) {
			dropDelays(t, dir) // it got to the end: begin again
			continue
		}
		n++
		if at := builtTo(t, dir); at > 0 && at < 6000 {
			middle++
		}
	}
	t.Logf("after %d of 10 kills some of it was there, and not all", middle)
	checkBuilt(t, dir, commands)
	checkPlanes(t, dir, commands)
}

// checkBuilt lets the command build to the end.
func checkBuilt(t *testing.T, dir string, commands []modelCommand) {
	t.Helper()
	out, err := delaysCommand(dir).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkChains(t, string(out), commands)
}

func builtTo(t *testing.T, dir string) uint64 {
	t.Helper()
	rt := open(t, dir, withDelays(config(), nil))
	defer rt.Close()
	if at := rt.View().T(); at != 6000 {
		t.Fatalf("the flights are at t %d", at)
	}
	return rt.Shard(0).Aggregate(delaysName).View().T()
}

// killBuilding starts the command, kills it a while after the bar has appeared, and tells whether that was before its end.
func killBuilding(t *testing.T, dir string, after time.Duration) bool {
	t.Helper()
	cmd := delaysCommand(dir)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := bufio.NewReader(errs)
	_, barError := text.ReadString('[')
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	rest, _ := text.ReadString(0) // until it has ended
	err = cmd.Wait()
	if barError != nil || err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatalf("no bar: %v %v\n%s", barError, err, rest)
	}
	return err != nil
}

// dropDelays deletes the files of the second aggregate.
func dropDelays(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "aggregate-"+delaysName+"@*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}
