package cqrs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/fail"
)

// Kills in the middle of what takes long: building the tables anew, taking over, pruning, compaction. Half of them come at a step, half from
// outside, at a drawn moment.

func init() {
	for name, work := range pastWorks {
		children["kill-past "+name] = func(t *testing.T, dir string) {
			dieAlong(t, os.Getenv(stepEnv))
			work.child(t, dir)
		}
	}
}

// pastWork is something that takes long, and where to die in it.
type pastWork struct {
	child func(t *testing.T, dir string)
	steps []string // steps to take after one another, and then to die; "#n": at the nth time
	fill  func(t *testing.T, rt *cqrs.Runtime)
	check func(t *testing.T, dir string, i int)
}

var pastWorks = map[string]pastWork{
	"rebuild":   {buildForEver, []string{"rebuild: folded#1", "rebuild: folded#2", "rebuild: folded#3"}, fillBuilt, checkBuilt},
	"take over": {buildForEver, []string{"rebuild: built", "rebuild: built>file: commit", "rebuild: built>file: committed"}, fillBuilt, checkBuilt},
	"prune":     {pruneForEver, []string{"prune#1", "prune#5", "prune#5>file: commit", "prune#20>file: committed"}, fillWorked, checkPruned},
	"compact":   {compactForEver, []string{"compact: copied#1", "compact: copied#3", "compact: replaced#1", "compact: replaced#2"}, fillWorked, checkCompacted},
}

// dieAlong has the process kill itself once it has taken the steps after one another.
func dieAlong(t *testing.T, along string) {
	if along == "" {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	rest, taken := strings.Split(along, ">"), 0
	fail.Hook(func(at string) {
		mu.Lock()
		defer mu.Unlock()
		step, nth, numbered := strings.Cut(rest[0], "#")
		if at != step {
			return
		}
		if taken++; numbered && fmt.Sprint(taken) != nth {
			return
		}
		if rest, taken = rest[1:], 0; len(rest) == 0 {
			_ = self.Kill()
			select {} // until it is dead
		}
	})
}

const (
	builtCommits  = 4500 // large ones: building takes three steps
	workedCommits = 600
)

func pastConfig(version string) cqrs.Config {
	cfg := counterConfig()
	cfg.Version = version
	return cfg
}

func fillBuilt(t *testing.T, rt *cqrs.Runtime)  { fillLarge(t, rt, builtCommits) }
func fillWorked(t *testing.T, rt *cqrs.Runtime) { fill(t, rt, workedCommits) }

// begun tells the parent that it may kill.
func begun(t *testing.T, dir string) {
	n := openNotes(t, filepath.Join(dir, "taken"))
	if _, err := n.file.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
}

func buildForEver(t *testing.T, dir string) {
	begun(t, dir)
	for i := 0; ; i++ {
		rt, err := cqrs.Open(filepath.Join(dir, "data"), pastConfig(fmt.Sprint(os.Getpid(), "-", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// sendBeside sends while the child does its work.
func sendBeside(t *testing.T, dir string, cfg cqrs.Config) *cqrs.Runtime {
	rt, _, _ := start(t, filepath.Join(dir, "data"), cfg)
	taken := openNotes(t, filepath.Join(dir, "taken"))
	for range 3 {
		go func() { panic(sendForEver(rt, taken)) }()
	}
	return rt
}

func pruneForEver(t *testing.T, dir string) {
	cfg := pastConfig("1")
	cfg.KeepHistory, cfg.Batch = 10, 4
	sendBeside(t, dir, cfg)
	select {}
}

func compactForEver(t *testing.T, dir string) {
	for rt := sendBeside(t, dir, pastConfig("1")); ; {
		if err := rt.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Invariants 1, 8, 12, 13.
func TestKilledInTheMiddle(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	for name, work := range pastWorks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			rt, _, stop := start(t, filepath.Join(dir, "data"), pastConfig("1"))
			work.fill(t, rt)
			writePast(t, rt, dir)
			stop()
			for i := range kills {
				step := ""
				if i%2 == 0 {
					step = work.steps[i/2%len(work.steps)]
				}
				killInTheMiddle(t, dir, "kill-past "+name, step)
				if work.check(t, dir, i); t.Failed() {
					t.Fatalf("kill %d, at %q", i, step)
				}
			}
			rt, _, _ = start(t, filepath.Join(dir, "data"), pastConfig("last"))
			if n := cqrs.Versions(t, rt); n != 1 {
				t.Errorf("the file holds %d versions", n)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "data", "*.db.*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func killInTheMiddle(t *testing.T, dir, child, step string) {
	t.Helper()
	if step == "" {
		killChild(t, child, dir, time.Duration(rand.IntN(120))*time.Millisecond)
		return
	}
	cmd := asChild(exec.Command(os.Args[0], childArgs), child, dir)
	cmd.Env = append(cmd.Env, stepEnv+"="+step)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); !timer.Stop() || !ok || e.Exited() {
		t.Fatalf("it was to die at %q: %v\n%s", step, err, out.String())
	}
}

// writePast keeps what is to stay as it is.
func writePast(t *testing.T, rt *cqrs.Runtime, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "past"), []byte(pastText(t, rt, rt.View().T(), true)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pastText is the digest of the first n commits, and with all the values on the way there.
func pastText(t *testing.T, rt *cqrs.Runtime, n uint64, all bool) string {
	t.Helper()
	records, _ := logOf(t, rt)
	text := fmt.Sprintf("%x\n", cqrs.DigestOf(records[:n]))
	for _, at := range []uint64{1, 77, n / 2, n/2 + 1, n} {
		if all {
			text += fmt.Sprintf("%d: %v\n", at, rowsAt(t, rt.AsOf(at)))
		}
	}
	return text
}

func rowsAt(t *testing.T, v cqrs.View) (rows []counter) {
	t.Helper()
	for c, err := range counters.All(v) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, c)
	}
	return rows
}

func checkPast(t *testing.T, rt *cqrs.Runtime, dir string, n uint64, all bool) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join(dir, "past"))
	if err != nil {
		t.Fatal(err)
	}
	if got := pastText(t, rt, n, all); !strings.HasPrefix(string(want), got) {
		t.Errorf("the past is\n%s\nand was\n%s", got, want)
	}
}

// checkBuilt: whichever version serves, and whether it has to be built to its end now, its values are those that were.
func checkBuilt(t *testing.T, dir string, i int) {
	t.Helper()
	if i%3 == 1 {
		return // the next one finds what two kills left
	}
	rt, _, stop := start(t, filepath.Join(dir, "data"), pastConfig("1"))
	checkPast(t, rt, dir, builtCommits, true)
	if d, at := rt.Shard(0).Digest(); at != builtCommits || !strings.HasPrefix(pastText(t, rt, at, false), fmt.Sprintf("%x", d)) {
		t.Errorf("digest %x at t %d", d, at)
	}
	stop()
}

func checkPruned(t *testing.T, dir string, _ int) { checkWorked(t, dir, false) }

func checkCompacted(t *testing.T, dir string, _ int) { checkWorked(t, dir, true) }

// checkWorked: all that was sent has ended in one way, and the tables are what the log says.
func checkWorked(t *testing.T, dir string, all bool) {
	t.Helper()
	cfg := pastConfig("1")
	rt := quiet(t, filepath.Join(dir, "data"), cfg)
	var sent []string
	for _, line := range readLines(t, filepath.Join(dir, "taken")) {
		if line != "" {
			sent = append(sent, line)
		}
	}
	checkEnded(t, rt, parseIDs(sent))
	checkPast(t, rt, dir, workedCommits, all)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
