package cqrs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/powercut"
)

// Power cuts. A process does all that changes files, on a folder that records every write, fsync and change of a folder. Of that log the images are
// built that a cut could leave, at a drawn moment and with drawn losses: what was synced is there; of what was not, any part may be
// missing, sector by sector. Each is opened, worked with, and asked for all that the library had promised before the cut.

// Where the images are fewer than this many, say so.
const powerImages = 5000

// Invariants 1, 7, 8, 11, 12, 13, 14 and 21.
func TestPowerCuts(t *testing.T) {
	images := powerImages
	if testing.Short() {
		images = 300
	}
	ops := recordWork(t, false)
	counts := map[powercut.Kind]int{}
	for _, op := range ops {
		counts[op.Kind]++
	}
	figure(t, "power cuts: operations recorded", "%d: %d writes, %d fsyncs of files, %d of folders; %d promises", len(ops),
		counts[powercut.Write], counts[powercut.Sync], counts[powercut.SyncDir], counts[powercut.Note])
	checkAllImages(t, ops, images)
	figure(t, "power cuts: images opened, all whole", "%d", images)
}

// checkAllImages shares the images among two processes.
func checkAllImages(t *testing.T, ops []powercut.Op, images int) {
	t.Helper()
	path := saveOps(t, ops)
	var both sync.WaitGroup
	for first := range 2 {
		both.Go(func() {
			if out, err := openImages(path, first, images, 2); err != nil {
				t.Errorf("%v; the log is kept in %s\n%s", err, keep(t, path), out)
			}
		})
	}
	both.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// The same, with the writes seen from inside the process: what stands in for the test above where nothing can be mounted.
func TestPowerCutsSeenFromInside(t *testing.T) {
	images := 200
	if !canMount(t) {
		images = powerImages
	}
	checkAllImages(t, recordInside(t), images)
	figure(t, "power cuts, seen from inside: images opened, all whole", "%d", images)
}

// Each of these is a library that forgets something, and must not pass: it proves the recorder and the images.
func TestPowerCutsFindWhatIsNotSynced(t *testing.T) {
	record := recordWork
	if !canMount(t) {
		record = func(t *testing.T, _ bool) []powercut.Op { return recordInside(t) }
	}
	ops := record(t, false)
	forgetful := map[string][]powercut.Op{
		"no fsync of a file":          powercut.Without(ops, func(op powercut.Op) bool { return op.Kind == powercut.Sync }),
		"no fsync before the header":  powercut.Without(ops, syncsAfter(false)),
		"no fsync behind the header":  powercut.Without(ops, syncsAfter(true)),
		"no fsync of folders":         powercut.Without(ops, func(op powercut.Op) bool { return op.Kind == powercut.SyncDir }),
		"an answer before the commit": early(ops),
	}
	if canMount(t) {
		forgetful["NoSync"] = recordWork(t, true)
	}
	figure(t, "power cuts: libraries that forget an fsync, all found", "%d", len(forgetful))
	for name, ops := range forgetful {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			out, err := openImages(saveOps(t, ops), 0, 400, 1, "-test.failfast")
			if err == nil {
				t.Errorf("400 images of a library that forgets it were whole")
			}
			t.Logf("found after %s: %.200s", time.Since(began).Round(time.Millisecond), bytes.TrimSpace(out))
		})
	}
}

// syncsAfter finds the fsyncs that follow a write of a header, or those that do not.
func syncsAfter(header bool) func(powercut.Op) bool {
	wrote := map[int]bool{}
	return func(op powercut.Op) bool {
		if op.Kind == powercut.Write {
			wrote[op.Node] = op.Off < 2*int64(os.Getpagesize())
		}
		return op.Kind == powercut.Sync && wrote[op.Node] == header
	}
}

// early has each promise come before the last fsync.
func early(ops []powercut.Op) (out []powercut.Op) {
	for _, op := range ops {
		at := len(out)
		if op.Kind == powercut.Note {
			for ; at > 0 && out[at-1].Kind == powercut.Note; at-- {
			}
			at = max(0, at-1)
		}
		out = append(out[:at:at], append([]powercut.Op{op}, out[at:]...)...)
	}
	return out
}

// recordWork runs the work on a folder that records, in a process of its own.
func recordWork(t *testing.T, noSync bool) []powercut.Op {
	t.Helper()
	dir := t.TempDir()
	recorder, unmount, err := powercut.Mount(dir)
	if err != nil {
		t.Skipf("TestPowerCutsSeenFromInside takes its place: %v", err)
	}
	cmd := asChild(exec.Command(os.Args[0], childArgs), "power-work", dir)
	if noSync {
		cmd.Env = append(cmd.Env, noSyncEnv+"=1")
	}
	out, err := runChild(cmd)
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("the work failed: %v\n%s", err, out)
	}
	return recorder.Ops()
}

const noMountEnv = "CQRS_TEST_NOMOUNT" // act as if nothing could be mounted

func canMount(t *testing.T) bool {
	t.Helper()
	if os.Getenv(noMountEnv) != "" {
		return false
	}
	_, unmount, err := powercut.Mount(t.TempDir())
	if err != nil {
		t.Log(err)
		return false
	}
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
	return true
}

func recordInside(t *testing.T) []powercut.Op {
	t.Helper()
	dir := t.TempDir()
	watch := powercut.Watch(dir)
	powerWorkInside(t, dir, watch)
	return watch.Ops()
}

func saveOps(t *testing.T, ops []powercut.Op) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := powercut.Save(file, ops); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// openImages has another process check images first, first+step ... of the log at path.
func openImages(path string, first, last, step int, args ...string) ([]byte, error) {
	cmd := asChild(exec.Command(os.Args[0], append([]string{childArgs}, args...)...), "power-check", path)
	cmd.Env = append(cmd.Env, fmt.Sprint(imagesEnv, "=", first, " ", last, " ", step))
	return runChild(cmd)
}

// keep saves a log that failed: CQRS_TEST_CHILD=power-check CQRS_TEST_CHILD_DIR=<log> CQRS_TEST_IMAGES="<image> <image+1> 1" go test -run
// TestChild opens the image again.
func keep(t *testing.T, path string) string {
	t.Helper()
	kept := filepath.Join(os.TempDir(), fmt.Sprintf("powercut-%d.log", os.Getpid()))
	if b, err := os.ReadFile(path); err != nil || os.WriteFile(kept, b, 0o600) != nil {
		return "no place"
	}
	return kept
}

func runChild(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	return out.Bytes(), err
}
