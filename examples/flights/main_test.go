package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

const slice = "testdata/slice.ndjson.gz"

// The test binary is the command itself when this is set, so that it can be killed.
const asCommand = "FLIGHTS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(withFilled(m))
}

// expected counts the slice by itself, without the library.
func expected(t *testing.T) map[string]figures {
	t.Helper()
	s, err := openStream(slice, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, carrier := map[string]figures{}, map[string]string{}
	for {
		line, err := s.lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all
		}
		var c struct {
			Type string
			Data map[string]string
		}
		if err := errors.Join(err, json.Unmarshal(line, &c)); err != nil {
			t.Fatal(err)
		}
		number := func(key string) int { n, _ := strconv.Atoi(c.Data[key]); return n }
		if c.Type == "flight/schedule" {
			carrier[c.Data["flight"]] = c.Data["carrier"]
		}
		code := carrier[c.Data["flight"]]
		f := all[code]
		switch c.Type {
		case "flight/schedule":
			f.Scheduled++
			f.Miles += number("distance")
		case "flight/depart":
			f.Departed++
			f.DelayMinutes += number("delay")
			if number("delay") > 15 {
				f.Late++
			}
		case "flight/land":
			f.Landed++
			f.AirMinutes += number("air_time")
		case "flight/cancel":
			f.Cancelled++
		}
		all[code] = f
	}
}

func expectFile(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"carriers": expected(t)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "expect.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSlice(t *testing.T) {
	dir, expect := t.TempDir(), expectFile(t)
	var out, errs bytes.Buffer
	for range 2 { // the second run has nothing to send
		if err := run(context.Background(), []string{"-data", dir, "-expect", expect, slice}, nil, &out, &errs); err != nil {
			t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
		}
	}
	if !strings.Contains(out.String(), "as expected: 15 carriers") || !strings.Contains(errs.String(), "6000 commands") {
		t.Errorf("%s%s", out.String(), errs.String())
	}
	checkOutcomes(t, dir)
}

func TestDifferencesAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "expect.json")
	if err := os.WriteFile(path, []byte(`{"carriers":{"UA":{"scheduled":1},"XX":{"landed":2}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := run(context.Background(), []string{"-data", t.TempDir(), "-expect", path, slice}, nil, &out, io.Discard)
	if err == nil || !strings.Contains(out.String(), "carrier UA: got") || !strings.Contains(out.String(), "carrier XX: got") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestStandardInput(t *testing.T) {
	f, err := os.Open(slice)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := run(context.Background(), []string{"-data", t.TempDir(), "-expect", expectFile(t), "-"}, f, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
}

func TestBadUse(t *testing.T) {
	for want, args := range map[string][]string{
		"name one file":     {},
		"no such file":      {"-data", t.TempDir(), "nowhere"},
		"at least 1":        {"-batch", "0", slice},
		"flag provided but": {"-nope"},
		"line 1":            {"-data", t.TempDir(), "main_test.go"},
	} {
		if err := run(context.Background(), args, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// Killed with -9 at random moments and started again until it gets to the end, it shows the same table as if nothing had happened,
// and every command ended once.
func TestKilledAtRandom(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 5
	}
	dir, expect := t.TempDir(), expectFile(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for n := 0; n < kills; {
		if killOne(t, dir, time.Duration(random.IntN(60_000))*time.Microsecond) {
			n++
			continue
		}
		checkOutcomes(t, dir) // it got to the end: begin again
		dir = t.TempDir()
	}
	out, err := command(dir, "-expect", expect).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkOutcomes(t, dir)
}

func command(dir string, args ...string) *exec.Cmd {
	return process(append(append([]string{"-data", dir, "-batch", "50"}, args...), slice)...)
}

func delaysCommand(dir string) *exec.Cmd { return process("-data", dir, "-delays") }

// process is the command in a process of its own.
func process(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// killOne starts the command, kills it after a while from its first output on, and tells whether it was killed before its end.
func killOne(t *testing.T, dir string, after time.Duration) bool {
	t.Helper()
	cmd := command(dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(after + 20*time.Millisecond)
	defer timer.Stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
		return false
	case <-timer.C:
	}
	_ = cmd.Process.Kill()
	return <-ended != nil
}

// checkOutcomes: every command that was sent ended exactly once.
func checkOutcomes(t *testing.T, dir string) {
	t.Helper()
	rt, err := cqrs.Open(dir, config())
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	byCommand, next := map[uuid.UUID]uint64{}, uint64(1)
	for r, err := range rt.Store().Log(t.Context(), 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if byCommand[r.Command] != 0 || r.T != next || len(r.Events) != 1 {
			t.Fatalf("command %s at t %d: %d events, and it was at t %d before", r.Command, r.T, len(r.Events), byCommand[r.Command])
		}
		byCommand[r.Command], next = r.T, next+1
	}
	if rt.View().T() != next-1 {
		t.Errorf("the log ends at t %d, and the aggregate at %d", next-1, rt.View().T())
	}
	if letters, err := rt.DeadLetters(t.Context()); err != nil || len(letters) > 0 {
		t.Errorf("dead letters %+v %v", letters, err)
	}
	checkFeedback(t, rt, byCommand)
}

func checkFeedback(t *testing.T, rt *cqrs.Runtime, byCommand map[uuid.UUID]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := map[uuid.UUID]bool{}
	for f, err := range rt.Feedback(ctx, 0, 0) {
		if err != nil || f.Err != nil || f.T != byCommand[f.Command] {
			t.Fatalf("feedback %+v %v, and the commit is t %d", f, err, byCommand[f.Command])
		}
		if heard[f.Command] = true; len(heard) == len(byCommand) {
			return
		}
	}
}
