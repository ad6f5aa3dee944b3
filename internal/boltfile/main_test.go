package boltfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

const childEnv = "BOLTFILE_TEST_CHILD"

// children are what this test binary does when it is started again as a child process.
var children = map[string]func(path string) error{
	"hold":   holdFile,
	"create": createFiles,
	"full":   fillDisk,
}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// startChild runs a child and waits for its first line of output.
func startChild(t *testing.T, name, path string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("child %s said nothing: %v", name, errors.Join(err, cmd.Wait()))
	}
	return cmd, in
}

func open(t *testing.T) *File {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "a.db"))
}

func openAt(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, Options{Kind: "test"})
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// soon gives what a channel brings.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

var dataBucket = []byte("data")

func putting(key string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return put(tx, key, []byte("value of "+key)) }
}

func put(tx *bbolt.Tx, key string, value []byte) error {
	b, err := tx.CreateBucketIfNotExists(dataBucket)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), value)
}

func has(t *testing.T, f *File, key string) (found bool) {
	t.Helper()
	must(t, f.View(func(tx *bbolt.Tx) error { found = hasKey(tx, key); return nil }))
	return found
}

func hasKey(tx *bbolt.Tx, key string) bool {
	b := tx.Bucket(dataBucket)
	return b != nil && b.Get([]byte(key)) != nil
}

func update(f *File, key string) error { return f.Update(context.Background(), putting(key)) }

// updating calls Update on a goroutine of its own.
func updating(f *File, key string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- update(f, key) }()
	return done
}

// numWaiting is how many calls wait.
func numWaiting(f *File) int {
	f.group.mu.Lock()
	defer f.group.mu.Unlock()
	return len(f.group.waiting)
}

func waitFor(t *testing.T, f *File, calls int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d calls wait", calls), func() bool { return numWaiting(f) == calls })
}
