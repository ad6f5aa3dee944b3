package cqrs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/fail"
)

// Kills at every step. A process does all that the library does to its files, and kills itself with -9 at a step, before or after which
// something may be half done; other processes are killed from outside, at a drawn moment. What is left is opened and asked for all
// that the library had promised.

// killKind is a kind of program to be killed, by the names of its children.
type killKind struct {
	at, later string
	check     func(t *testing.T, dir string, audit bool) // what is left
}

var ownFiles = killKind{"kill-at", "kill-later", checkKilled}

func init() {
	children["kill-steps"] = func(t *testing.T, dir string) { countSteps(t, func() { killWork(t, dir, 0) }) }
	children["kill-at"] = func(t *testing.T, dir string) { dieAt(t, os.Getenv(stepEnv)); killWorkForEver(t, dir) }
	children["kill-later"] = killWorkForEver
	children["kill-open"] = func(t *testing.T, dir string) { dieAt(t, os.Getenv(stepEnv)); openThree(t, dir) }
}

const (
	stepEnv  = "CQRS_TEST_STEP"  // step, #, and at which time
	killsEnv = "CQRS_TEST_KILLS" // how many; else 320
	auditEnv = "CQRS_TEST_AUDIT"
)

// dieAt has the process kill itself when a step is taken for the nth time.
func dieAt(t *testing.T, what string) {
	step, times, _ := strings.Cut(what, "#")
	nth, err := strconv.Atoi(times)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	fail.Hook(func(at string) {
		if at != step {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if nth--; nth == 0 {
			_ = self.Kill()
			select {} // until it is dead
		}
	})
}

// countSteps does the work once and prints how often each step was taken.
func countSteps(t *testing.T, work func()) {
	var mu sync.Mutex
	taken := map[string]int{}
	fail.Hook(func(at string) {
		mu.Lock()
		defer mu.Unlock()
		taken[at]++
	})
	work()
	mu.Lock()
	defer mu.Unlock()
	for step, n := range taken {
		fmt.Printf("step\t%s\t%d\n", step, n)
	}
}

func killConfig(t *testing.T, dir, version string, audit bool) cqrs.Config {
	cfg := powerConfig(version)
	cfg.NoSync = true // a killed process takes nothing of the system's memory with it
	if audit {
		n := openNotes(t, filepath.Join(dir, "audit"))
		t.Cleanup(func() { n.file.Close() })
		cfg = withAudit(cfg, n)
	}
	return cfg
}

func killWorkForEver(t *testing.T, dir string) {
	for round := 0; ; round++ {
		killWork(t, dir, round)
	}
}

// killWork does everything once.
func killWork(t *testing.T, dir string, round int) {
	file := openNotes(t, filepath.Join(dir, "notes"))
	defer file.file.Close()
	say := func(format string, args ...any) error {
		_, err := fmt.Fprintf(file.file, format+"\n", args...)
		return err
	}
	for n := range 2 {
		cfg := killConfig(t, dir, fmt.Sprint(os.Getpid()%5, "-", 0), os.Getenv(auditEnv) != "")
		if n == 1 {
			cfg.Next = &cqrs.Aggregate{Version: fmt.Sprint(os.Getpid()%5, "-", 1), Aggregator: counting{}, Tables: cfg.Tables}
		}
		rt, _, stop := start(t, powerData(dir), cfg)
		powerSend(t, rt, say, 3, 4)
		if n == 1 {
			awaitVersion(t, rt, cfg.Next.Version)
		}
		powerResend(t, rt, say)
		if n == 0 {
			if err := rt.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		copyWhole(t, rt, filepath.Join(dir, "copies", fmt.Sprint(os.Getpid(), "-", round, n)))
		powerSend(t, rt, say, 2, 2)
		stop()
	}
}

// copyWhole restores a snapshot.
func copyWhole(t *testing.T, rt *cqrs.Runtime, dir string) {
	t.Helper()
	r, w := io.Pipe()
	defer r.Close() // what stands behind the last file is not read
	go func() { w.CloseWithError(rt.Snapshot(t.Context(), w)) }()
	if err := cqrs.Restore(t.Context(), dir, r); err != nil {
		t.Fatal(err)
	}
}

// Invariants 1, 7, 8, 11 to 15.
func TestKilledAtEveryStep(t *testing.T) {
	steps, kills := stepsOf(t, "kill-steps"), killsWanted(t)
	checkDeclared(t, steps)
	all := killPlan(steps, kills)
	const lanes = 2
	var running sync.WaitGroup
	for lane := range lanes {
		running.Go(func() { killLane(t, ownFiles, lane, all, lanes) })
	}
	running.Wait()
	outside := 0
	for _, step := range all {
		if step == "" {
			outside++
		}
	}
	figure(t, "kills at a step, and steps", "%d kills at %d steps", len(all)-outside, len(steps))
	figure(t, "kills from outside", "%d", outside)
}

func killsWanted(t *testing.T) int {
	if s := os.Getenv(killsEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 60
	}
	return 320
}

func stepsOf(t *testing.T, child string) map[string]int {
	t.Helper()
	out, err := runChild(asChild(exec.Command(os.Args[0], childArgs), child, t.TempDir()))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	steps := map[string]int{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); f[0] == "step" {
			if steps[f[1]], err = strconv.Atoi(f[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return steps
}

var declared = regexp.MustCompile(`\bfail\.(Here|At)\("([^"]+)"`)

// checkDeclared: no step of the source is left out.
func checkDeclared(t *testing.T, steps map[string]int) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			n++
			if !wasTaken(steps, string(m[1]), string(m[2])) {
				t.Errorf("%s: the step %q is never taken", path, m[2])
			}
		}
		return err
	})
	if err != nil || n < 20 {
		t.Errorf("%d steps were found in the source: %v", n, err)
	}
}

func wasTaken(steps map[string]int, how, step string) bool {
	for taken := range steps {
		if taken == step || how == "At" && strings.HasPrefix(taken, step+" ") {
			return true
		}
	}
	return false
}

// killPlan says where to kill: each step at its first, its last and some times between; every sixth time from outside.
func killPlan(steps map[string]int, kills int) (list []string) {
	names := make([]string, 0, len(steps))
	for s := range steps {
		names = append(names, s)
	}
	slices.Sort(names)
	for turn := 0; len(list) < kills; turn++ {
		for _, s := range names {
			nth := 1 + rand.IntN(steps[s])
			if turn == 0 {
				nth = 1
			}
			if list = append(list, fmt.Sprint(s, "#", nth)); len(list)%6 == 0 {
				list = append(list, "")
			}
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// makes are the steps that are taken where the files are still to be made.
var makes = regexp.MustCompile("^(folder: made|file: make|file: made|file: linked)#")

// killLane does every nth kill of the list, a few of them after one another in one folder.
func killLane(t *testing.T, kind killKind, lane int, list []string, lanes int) {
	dir := ""
	for i := lane; i < len(list); i += lanes {
		if i/lanes%12 == 0 || makes.MatchString(list[i]) {
			dir = t.TempDir()
		}
		audit := (i/lanes/12)%2 == 1
		t.Run(fmt.Sprint(i, " ", list[i]), func(t *testing.T) {
			killOnce(t, kind, dir, list[i], audit)
			kind.check(t, dir, audit)
		})
	}
}

func killOnce(t *testing.T, kind killKind, dir, step string, audit bool) {
	t.Helper()
	name := kind.at
	if step == "" {
		name = kind.later
	}
	cmd := asChild(exec.Command(os.Args[0], childArgs), name, dir)
	cmd.Env = append(cmd.Env, stepEnv+"="+step)
	if audit {
		cmd.Env = append(cmd.Env, auditEnv+"=1")
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.Minute
	if step == "" {
		limit = time.Duration(rand.IntN(150)) * time.Millisecond
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if inTime := timer.Stop(); inTime != (step != "") {
		t.Fatalf("it was to be killed at %q: %v\n%s", step, err, out.Bytes())
	}
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Exited() {
		t.Fatalf("the process ended by itself: %v\n%s", err, out.Bytes())
	}
}

// checkKilled opens what is left, and works with it.
func checkKilled(t *testing.T, dir string, audit bool) {
	t.Helper()
	var said promises
	if path := filepath.Join(dir, "notes"); sizeOf(path) > 0 {
		said = promisesIn(readLines(t, path))
	}
	rt := quiet(t, powerData(dir), killConfig(t, dir, fmt.Sprint("c", rand.IntN(3)), audit))
	said.check(t, rt)
	checkTwin(t, rt)
	if audit {
		checkAudit(t, rt, filepath.Join(dir, "audit"))
	}
	checkLeftovers(t, powerData(dir))
	checkCopies(t, filepath.Join(dir, "copies"))
}

// checkLeftovers: what a killed process was making is swept up.
func checkLeftovers(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) != ".db" {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

// checkCopies: what Restore was making is whole, or not there.
func checkCopies(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		return // there is none yet
	}
	for _, e := range list {
		at := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(e.Name(), ".restore-") {
			rt, _, stop := start(t, at, powerConfig("copy"))
			checkLog(t, rt)
			stop()
		}
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
	}
}

// openThree makes a folder of three shards.
func openThree(t *testing.T, dir string) {
	cfg := counterConfig()
	cfg.Shards = 3
	start(t, dir, cfg)
}

// A folder of several shards whose making was cut short can be opened as what it was to be.
func TestKilledWhileAFolderIsMade(t *testing.T) {
	for _, step := range []string{"folder: made", "file: make", "file: made", "file: linked", "file: commit", "file: committed"} {
		for nth := 1; nth < 20; nth++ {
			dir := filepath.Join(t.TempDir(), "data")
			cmd := asChild(exec.Command(os.Args[0], childArgs), "kill-open", dir)
			cmd.Env = append(cmd.Env, fmt.Sprint(stepEnv, "=", step, "#", nth))
			if _, err := runChild(cmd); err == nil {
				if nth == 1 {
					t.Errorf("%s was not come to", step)
				}
				break // there are no more
			}
			t.Run(fmt.Sprint(step, "#", nth), func(t *testing.T) {
				openThree(t, dir)
				checkLeftovers(t, dir)
			})
		}
	}
}
