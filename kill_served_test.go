package cqrs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cqrs-server/cqrs"
	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// The same kills, of a runtime whose queue, store and aggregate do not share a transaction: each is a folder of its own, as they are with
// Kafka and DynamoDB, and a kill finds any of them ahead of the others.

func init() {
	children["served-steps"] = func(t *testing.T, dir string) { countSteps(t, func() { servedWork(t, dir, 0) }) }
	children["served-later"] = func(t *testing.T, dir string) {
		for round := 0; ; round++ {
			servedWork(t, dir, round)
		}
	}
	children["served-at"] = func(t *testing.T, dir string) { dieAt(t, os.Getenv(stepEnv)); children["served-later"](t, dir) }
}

var apart = killKind{"served-at", "served-later", checkServed}

// servedConfig opens queue and store; they are closed by the returned function, after the runtime.
func servedConfig(t *testing.T, dir, version string, audit bool) (cfg cqrs.Config, closeAll func()) {
	t.Helper()
	q, err := boltqueue.Open(filepath.Join(dir, "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	st, err := boltstore.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	cfg = killConfig(t, dir, version, audit)
	cfg.Queue, cfg.Store = q, st
	var once sync.Once
	closeAll = func() {
		once.Do(func() {
			if err := errors.Join(q.Close(), st.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(closeAll)
	return cfg, closeAll
}

func servedWork(t *testing.T, dir string, round int) {
	file := openNotes(t, filepath.Join(dir, "notes"))
	defer file.file.Close()
	say := func(format string, args ...any) error {
		_, err := fmt.Fprintf(file.file, format+"\n", args...)
		return err
	}
	for n := range 2 {
		cfg, closeAll := servedConfig(t, dir, fmt.Sprint(round%3, "-", 0), os.Getenv(auditEnv) != "")
		if n == 1 {
			cfg.Next = &cqrs.Aggregate{Version: fmt.Sprint(round%3, "-", 1), Aggregator: counting{}, Tables: cfg.Tables}
		}
		rt, _, stop := start(t, powerData(dir), cfg)
		powerSend(t, rt, say, 3, 4)
		if n == 1 {
			awaitVersion(t, rt, cfg.Next.Version)
		}
		powerResend(t, rt, say)
		powerSend(t, rt, say, 2, 2)
		stop()
		closeAll()
	}
}

func checkServed(t *testing.T, dir string, audit bool) {
	t.Helper()
	var said promises
	if path := filepath.Join(dir, "notes"); sizeOf(path) > 0 {
		said = promisesIn(readLines(t, path))
	}
	cfg, _ := servedConfig(t, dir, fmt.Sprint("c", rand.IntN(3)), audit)
	rt := quiet(t, powerData(dir), cfg)
	said.check(t, rt)
	checkTwin(t, rt)
	if audit {
		checkAudit(t, rt, filepath.Join(dir, "audit"))
	}
	checkLeftovers(t, powerData(dir))
}

// Invariants 1, 7, 8, 11, 13, 14 and 15.
func TestKilledAtEveryStepWithQueueAndStoreApart(t *testing.T) {
	steps, kills := stepsOf(t, "served-steps"), killsWanted(t)/2
	all := killPlan(steps, kills)
	const lanes = 2
	var running sync.WaitGroup
	for lane := range lanes {
		running.Go(func() { killLane(t, apart, lane, all, lanes) })
	}
	running.Wait()
	figure(t, "kills with queue and store apart", "%d, at %d steps and from outside", len(all), len(steps))
}

// Invariant 15: what the store knew before the aggregate, an output of the program's own hears of.
func TestKilledBeforeTheFirstCommitOutputsMissNothing(t *testing.T) {
	for _, step := range []string{"prune#1", "commit#1", "file: commit#1"} {
		dir := t.TempDir()
		killOnce(t, apart, dir, step, true)
		apart.check(t, dir, true)
	}
}
