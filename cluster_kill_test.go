package cqrs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
)

// Processes of a cluster that are killed, and stopped for longer than the group waits for them.

// worker says what a child process is to do.
type worker struct {
	Dir     string   `json:"dir"`
	Brokers []string `json:"brokers"`
	Prefix  string   `json:"prefix"`
	Shards  int      `json:"shards"`
	Dynamo  string   `json:"dynamo"`
	Table   string   `json:"table"`
}

const workerEnv = "CQRS_TEST_WORKER"

// TestWorkerProcess is what a child process runs: a worker, until it is killed.
func TestWorkerProcess(t *testing.T) {
	text := os.Getenv(workerEnv)
	if text == "" {
		t.Skip("it is for the child processes of other tests")
	}
	var w worker
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	cfg := counterConfig()
	cfg.Queue = openKafka(t, w.Brokers, w.Prefix, w.Shards)
	if w.Table != "" {
		cfg.Store = openDynamo(t, w.Dynamo, w.Table)
	}
	rt, err := cqrs.Open(w.Dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	t.Fatal(rt.Run(context.Background()))
}

// spawn starts a worker process on a data folder.
func (c *cluster) spawn(dir string) *exec.Cmd {
	c.t.Helper()
	w := worker{Dir: dir, Brokers: c.brokers, Prefix: c.prefix, Shards: c.shards, Dynamo: os.Getenv("CQRS_DYNAMODB"), Table: c.table}
	text, _ := json.Marshal(w)
	child := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=10m")
	child.Env = append(os.Environ(), workerEnv+"="+string(text))
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "open" {
		if strings.Contains(lines.Text(), "FAIL") {
			c.t.Fatalf("the child could not open: %s", lines.Text())
		}
	}
	return child
}

// newProcesses is a cluster for child processes, with a member of this process that sends and reads.
func newProcesses(t *testing.T, shards int) (*cluster, *member) {
	c := newCluster(t, shards)
	if c.table == "" {
		c.store = nil // each process has its own archive
	}
	return c, c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
}

func TestWorkersAreKilled(t *testing.T) {
	c, here := newProcesses(t, 2)
	dirs := []string{t.TempDir(), t.TempDir()}
	workers := []*exec.Cmd{c.spawn(dirs[0]), c.spawn(dirs[1])}
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	kills := 8
	if testing.Short() {
		kills = 3
	}
	stop := c.keepLoading(ctx, 6, here.rt)
	for i := range kills {
		c.progress(ctx, 20) // the group gives up on who was killed before
		sleepFor(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
		k := i % 2
		_ = workers[k].Process.Kill()
		_ = workers[k].Wait()
		workers[k] = c.spawn(dirs[k])
	}
	stop()
	c.check(here)
	t.Logf("%d commands, %d kills", len(c.sent), kills)
}

// progress waits until so many more commands have ended.
func (c *cluster) progress(ctx context.Context, n int) {
	c.t.Helper()
	for want := c.ended() + n; c.ended() < want; sleepFor(ctx, 5*time.Millisecond) {
		if ctx.Err() != nil {
			c.t.Fatalf("it did not go on: %d commands ended", c.ended())
		}
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func TestWorkerIsStoppedBeyondItsSession(t *testing.T) {
	c, here := newProcesses(t, 1)
	a := c.spawn(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	c.load(ctx, 4, 5, here.rt).Wait()
	all := c.load(ctx, 4, 300, here.rt) // in the middle of which it is stopped
	sleepFor(ctx, 300*time.Millisecond)
	if err := a.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.spawn(t.TempDir())
	before := here.rt.View().T()
	for ctx.Err() == nil && here.rt.View().T() == before { // until the other one has taken over
		sleepFor(ctx, 20*time.Millisecond)
	}
	if err := a.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	c.check(here)
}

func TestBrokerIsKilledWhileCommandsFlow(t *testing.T) {
	server := kafkaserver.Start(t)
	c := newClusterOn(t, []string{server.Addr}, 2)
	a, b := c.add(""), c.add("")
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	all := c.load(ctx, 6, 150, a.rt, b.rt)
	for range 2 {
		sleepFor(ctx, time.Second)
		server.Kill()
		sleepFor(ctx, time.Second)
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	c.check(a, b)
}
