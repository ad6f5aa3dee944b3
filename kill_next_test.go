package cqrs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// Kills while the next version is built and takes over, again and again, and commands flow. What is left is opened as the same program
// would be: with the version that serves, and the one that was being built.

func init() {
	children["kill-next"] = func(t *testing.T, dir string) {
		dieAlong(t, os.Getenv(stepEnv))
		nextForEver(t, dir)
	}
}

var nextSteps = []string{
	"next: folded#1", "next: folded#3>file: commit", "next: folded#5>file: committed", "next: caught up#1",
	"next: caught up>file: commit", "next: caught up>file: committed", "next: taken over#1", "next: taken over#2",
}

// nextOf is the program for a folder: with the version that it was left with, and the one behind it.
func nextOf(t *testing.T, dir string) cqrs.Config {
	serving := cqrs.VersionIn(t, filepath.Join(dir, "data"))
	n, err := strconv.Atoi(serving)
	if err != nil {
		t.Fatal(err)
	}
	return withNext(versionConfig(serving, 2), fmt.Sprint(n+1), second)
}

func nextForEver(t *testing.T, dir string) {
	for {
		cfg := nextOf(t, dir)
		rt, _, stop := start(t, filepath.Join(dir, "data"), cfg)
		taken := openNotes(t, filepath.Join(dir, "taken"))
		for range 3 {
			go func() {
				if err := sendForEver(rt, taken); !errors.Is(err, cqrs.ErrClosed) {
					panic(err)
				}
			}()
		}
		awaitVersion(t, rt, cfg.Next.Version)
		stop()
	}
}

// Invariants 1, 5, 7, 8, 11, 12, 13.
func TestKilledWhileTheNextVersionTakesOver(t *testing.T) {
	kills := 24
	if testing.Short() {
		kills = 8
	}
	dir := t.TempDir()
	rt, _, stop := start(t, filepath.Join(dir, "data"), versionConfig("1", 2))
	fill(t, rt, 3000)
	want := versionRows(t, rt.Shard(0), 2999)
	stop()
	for i := range kills {
		step := ""
		if i%3 > 0 {
			step = nextSteps[(i-i/3-1)%len(nextSteps)]
		}
		killInTheMiddle(t, dir, "kill-next", step)
		if checkNext(t, dir, i, want); t.Failed() {
			t.Fatalf("kill %d, at %q", i, step)
		}
	}
	rt, _, _ = start(t, filepath.Join(dir, "data"), nextOf(t, dir))
	awaitVersion(t, rt, nextVersionOf(t, rt))
	figure(t, "kills while the next version is built and takes over", "%d, at %d steps and from outside", kills, len(nextSteps))
}

func nextVersionOf(t *testing.T, rt *cqrs.Runtime) string {
	if b := rt.Health()[0].Building; b != nil {
		return b.Version
	}
	return rt.Shard(0).Version()
}

// checkNext opens what is left, and lets it go on, or opens it as another version, which is built in one go.
func checkNext(t *testing.T, dir string, i int, want string) {
	t.Helper()
	cfg := nextOf(t, dir)
	if i%2 == 1 {
		cfg.Next = nil
	}
	rt := quiet(t, filepath.Join(dir, "data"), cfg)
	if cfg.Next != nil {
		awaitVersion(t, rt, cfg.Next.Version)
	}
	checkEnded(t, rt, parseIDs(readLines(t, filepath.Join(dir, "taken"))))
	if got := versionRows(t, rt.Shard(0), 2999); got != want {
		t.Errorf("the past is\n%s\nand was\n%s", got, want)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
