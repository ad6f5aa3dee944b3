package cqrs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/powercut"
	"github.com/google/uuid"
)

func init() { children["power-check"] = checkImages }

const imagesEnv = "CQRS_TEST_IMAGES" // which of them: first, last, step

// checkImages opens images of the log that lies at path. It is a process of its own: a damaged file may end it.
func checkImages(t *testing.T, path string) {
	var first, last, step int
	if _, err := fmt.Sscan(os.Getenv(imagesEnv), &first, &last, &step); err != nil {
		t.Fatal(err)
	}
	ops := loadOps(t, path)
	var cuts []powerCut
	for seed := first; seed < last; seed += step {
		cuts = append(cuts, cutOf(seed, len(ops)))
	}
	slices.SortFunc(cuts, func(a, b powerCut) int { return a.after - b.after })
	folder, done := powercut.NewFolder(), 0
	for _, c := range cuts {
		for ; done < c.after; done++ {
			folder.Do(ops[done])
		}
		t.Run(fmt.Sprint(c.seed), func(t *testing.T) { c.check(t, folder) })
	}
}

func loadOps(t *testing.T, path string) []powercut.Op {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ops, err := powercut.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// powerCut is one cut: after so many operations, with what is lost drawn from a seed.
type powerCut struct {
	seed, after int
	rand        *rand.Rand
}

func cutOf(seed, ops int) powerCut {
	r := rand.New(rand.NewPCG(uint64(seed), 21))
	return powerCut{seed, r.IntN(ops + 1), r}
}

func (c powerCut) check(t *testing.T, folder *powercut.Folder) {
	dir := t.TempDir()
	if err := folder.Image(c.rand, dir); err != nil {
		t.Fatal(err)
	}
	said := promisesIn(folder.Notes)
	cfg := powerConfig([]string{"1", "2", "2", "3"}[c.rand.IntN(4)])
	cfg.NoSync = true
	rt := quiet(t, powerData(dir), cfg)
	said.check(t, rt)
	if c.rand.IntN(8) == 0 {
		checkTwin(t, rt)
	}
	if said.restored {
		c.checkBackup(t, dir)
	}
	if t.Failed() {
		t.Logf("cut after operation %d; last said: %q", c.after, folder.Notes[max(0, len(folder.Notes)-3):])
	}
}

func (c powerCut) checkBackup(t *testing.T, dir string) {
	if _, err := os.Stat(filepath.Join(powerBackup(dir), "shard-0.db")); err != nil {
		t.Fatalf("Restore had returned: %v", err)
	}
	if c.rand.IntN(8) > 0 {
		return
	}
	cfg := powerConfig("2")
	cfg.NoSync = true
	rt := quiet(t, powerBackup(dir), cfg)
	checkEnded(t, rt, nil)
	checkTwin(t, rt)
}

// promises are what the library had told before the power was cut.
type promises struct {
	sent     []uuid.UUID
	accepted map[uuid.UUID]uint64
	level    map[uuid.UUID]string
	resent   map[uuid.UUID]bool
	restored bool
}

func promisesIn(notes []string) promises {
	p := promises{accepted: map[uuid.UUID]uint64{}, level: map[uuid.UUID]string{}, resent: map[uuid.UUID]bool{}}
	for _, line := range notes {
		what, rest, _ := strings.Cut(line, " ")
		if what == "restored" {
			p.restored = true
			continue
		}
		id := uuid.MustParse(rest[:36])
		switch what {
		case "sent":
			p.sent = append(p.sent, id)
		case "accepted":
			var at uint64
			fmt.Sscan(rest[36:], &at)
			p.accepted[id] = at
		case "resend", "resent":
			p.resent[id] = true
		default:
			p.level[id] = what
		}
	}
	return p
}

// check wants all of them kept.
func (p promises) check(t *testing.T, rt *cqrs.Runtime) {
	t.Helper()
	once := slices.DeleteFunc(slices.Clone(p.sent), func(id uuid.UUID) bool { return p.resent[id] })
	checkEnded(t, rt, once)
	checkFeedback(t, rt, p.sent)
	for id, at := range p.accepted {
		if got, _ := cqrs.End(t, rt, id); got != at {
			t.Errorf("command %s had been accepted at t %d, and is at t %d", id, at, got)
		}
	}
	for id, level := range p.level {
		if got, refused := cqrs.End(t, rt, id); (level == cqrs.User.String()) != refused || got > 0 {
			t.Errorf("command %s had ended with a %s error, and is at t %d, refused %v", id, level, got, refused)
		}
	}
}

// checkTwin: the aggregate beside the main one has the same commits and rows.
func checkTwin(t *testing.T, rt *cqrs.Runtime) {
	t.Helper()
	twin := rt.Shard(0).Aggregate("twin")
	main, at := rt.Shard(0).Digest()
	if _, err := twin.AtLeast(patience(t), at); err != nil {
		t.Fatal(err)
	}
	if digest, _ := twin.Digest(); digest != main {
		t.Errorf("the twin's digest at t %d is %x, and the shard's is %x", at, digest, main)
	}
	for c, err := range counters.All(rt.View()) {
		if got := value(t, twin.View(), c.Name); err != nil || got != c.Value {
			t.Errorf("counter %q is %d in the twin, and %d in the shard (%v)", c.Name, got, c.Value, err)
		}
	}
}
