//go:build unix

package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

const appenders = 4

// appendUntilKilled appends from several goroutines, and prints each message after Append has returned nil.
func appendUntilKilled(dir string) error {
	q, err := Open(dir, 1)
	if err != nil {
		return err
	}
	var print sync.Mutex
	failed := make(chan error)
	for a := range appenders {
		go func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("%d/%d", a, i)
				if err := q.Append(context.Background(), "a", 0, texts(value)); err != nil {
					failed <- err
				}
				print.Lock()
				fmt.Println(value)
				print.Unlock()
			}
		}()
	}
	return <-failed
}

// Invariant 1: whatever was acknowledged is there after a kill, once, and in order.
func TestKilledProcessLosesNothing(t *testing.T) {
	for _, lines := range []int{1, 50, 400} {
		dir := t.TempDir()
		told := runAndKill(t, dir, lines)
		q := openDir(t, dir, 1)
		next := map[string]int{}
		for _, value := range stored(t, q, "a") {
			a, i, _ := strings.Cut(value, "/")
			if i != fmt.Sprint(next[a]) {
				t.Fatalf("%s is there where %s/%d should be", value, a, next[a])
			}
			next[a]++
		}
		for _, value := range told {
			a, i, _ := strings.Cut(value, "/")
			var n int
			_, err := fmt.Sscan(i, &n)
			must(t, err)
			if n >= next[a] {
				t.Errorf("%s was acknowledged and is lost", value)
			}
		}
		t.Logf("%d acknowledged, %v stored", len(told), next)
		must(t, q.Close())
	}
}

// runAndKill kills the child when it has printed so many lines, and gives all lines it has printed.
func runAndKill(t *testing.T, dir string, lines int) (told []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"=append")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if told = append(told, scan.Text()); len(told) == lines {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
	if len(told) < lines {
		t.Fatalf("the child ended after %d lines", len(told))
	}
	return told
}

// Invariant 21: while the disk is full Append refuses and reads go on; afterwards work resumes.
func TestDiskFull(t *testing.T) {
	cmd := exec.Command(os.Args[0], t.TempDir())
	cmd.Env = append(os.Environ(), childEnv+"=full")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fillDisk runs in a process of its own, because the limit on file sizes holds for a whole process.
func fillDisk(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	q, err := Open(dir, 1)
	if err != nil {
		return err
	}
	if err := q.Append(ctx, "a", 0, texts("0")); err != nil {
		return err
	}
	notified := 0
	q.Notify("a", 0, func() { notified++ })
	read := make(chan error, 1)
	go func() { _, err := q.Read(ctx, "a", 0, 1, 1); read <- err }()
	if err := errors.Join(limitFiles(8192), refuses(ctx, q), reads(ctx, q)); err != nil {
		return err
	}
	if notified == 0 {
		return errors.New("after a commit that failed nobody was told to look again")
	}
	if err := errors.Join(limitFiles(^uint64(0)), q.Append(ctx, "a", 0, texts("1")), <-read, reads(ctx, q)); err != nil {
		return err
	}
	if _, end, err := q.Bounds(ctx, "a", 0); end != 2 || err != nil {
		return fmt.Errorf("the end is %d, %w", end, err)
	}
	return q.Close()
}

func refuses(ctx context.Context, q *Queue) error {
	err := q.Append(ctx, "a", 0, []queue.Message{{Value: make([]byte, 100_000)}})
	switch {
	case err == nil:
		return errors.New("Append does not notice")
	case errors.Is(err, queue.ErrUnknown), !strings.Contains(err.Error(), syscall.EFBIG.Error()):
		return err
	case !strings.Contains(err.Error(), `"a" shard 0`), !strings.Contains(err.Error(), q.File(0).Path()):
		return fmt.Errorf("it does not say where: %w", err)
	}
	return nil
}

func reads(ctx context.Context, q *Queue) error {
	msgs, err := q.Read(ctx, "a", 0, 0, 1)
	if err == nil && string(msgs[0].Value) != "0" {
		err = fmt.Errorf("%q was read", msgs[0].Value)
	}
	return err
}

func limitFiles(size uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &r); err != nil {
		return err
	}
	r.Cur = min(size, r.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &r)
}
