package cqrs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/google/uuid"
)

// Processes of a cluster that can be killed.

// worker says what a child process is to do.
type worker struct {
	Dir     string    `json:"dir"`
	Brokers []string  `json:"brokers"`
	Prefix  string    `json:"prefix"`
	Shards  int       `json:"shards"`
	Dynamo  string    `json:"dynamo"`
	Table   string    `json:"table"`
	Role    cqrs.Role `json:"role"`

	Session time.Duration `json:"session"` // of the consumer group; 6 seconds when it is 0
	Name    string        `json:"name"`    // in the consumer group, which keeps its place for it; may be empty
	Sends   bool          `json:"sends"`   // it sends commands of its own, too, and says which
	DieAt   string        `json:"dieAt"`   // see dieAt; may be empty
	StopAt  string        `json:"stopAt"`  // a step at which it stops once, as by SIGSTOP; may be empty
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
	if w.DieAt != "" {
		dieAt(t, w.DieAt)
	}
	if w.StopAt != "" {
		stopAt(w.StopAt)
	}
	rt := w.open(t)
	fmt.Println("open")
	if w.Sends {
		go sendAsAChild(rt)
	}
	t.Fatal(rt.Run(context.Background()))
}

// stopAt has the process say that it stops, and stop, when a step is taken for the first time after it was asked to by SIGUSR1.
func stopAt(step string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	fail.Hook(func(at string) {
		if at != step {
			return
		}
		select {
		case <-asked:
			fmt.Println("stops")
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		default:
		}
	})
}

// open opens the runtime, as soon as the brokers can be reached.
func (w worker) open(t *testing.T) *cqrs.Runtime {
	config := kafkaConfig()
	if w.Session != 0 {
		config.Consumer.Group.Session.Timeout = w.Session
	}
	config.Consumer.Group.InstanceId = w.Name
	cfg := counterConfig()
	cfg.Role = w.Role
	if w.Table != "" {
		cfg.Store = openDynamo(t, w.Dynamo, w.Table)
	}
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); sleepFor(t.Context(), 100*time.Millisecond) {
		var q *kafka.Queue
		if q, err = kafka.Open(t.Context(), w.Brokers, kafka.Prefix(w.Prefix), kafka.Shards(w.Shards), kafka.Config(config)); err != nil {
			continue
		}
		cfg.Queue = q
		rt, failed := cqrs.Open(w.Dir, cfg)
		if failed == nil {
			return rt
		}
		err = errors.Join(failed, q.Close())
	}
	t.Fatal(err)
	return nil
}

// sendAsAChild says of each command that it is sent, and then sends the next.
func sendAsAChild(rt *cqrs.Runtime) {
	for {
		id := uuid.Must(uuid.NewV7())
		r, err := rt.Send(context.Background(), ofAChild, cqrs.WithID(id), cqrs.WithKey(ofAChild.Name))
		if err == nil {
			fmt.Println("sent", id)
			_, _ = r.Wait(context.Background())
		}
	}
}

var ofAChild = add{Name: "k7", By: 1}

// child is a process that runs a worker.
type child struct {
	*exec.Cmd
	gone  chan struct{} // closed when it has ended
	stops chan struct{} // gets one when it stops
	sent  []uuid.UUID   // until then
}

// start starts a worker process, and waits until it is open. It gives io.EOF when it dies before.
func (w worker) start() (*child, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	c := &child{Cmd: exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=10m"), gone: make(chan struct{}), stops: make(chan struct{}, 1)}
	c.Env = append(os.Environ(), workerEnv+"="+string(text))
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, err
	}
	opened := make(chan error, 1)
	go c.listen(out, opened)
	return c, <-opened
}

// listen hears what the child says, until it ends.
func (c *child) listen(out io.Reader, opened chan<- error) {
	defer close(c.gone)
	said, failed := false, ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch word, rest, _ := strings.Cut(lines.Text(), " "); {
		case word == "open":
			said = true
			opened <- nil
		case word == "stops":
			c.stops <- struct{}{}
		case word == "sent":
			if id, err := uuid.Parse(rest); err == nil { // else it was killed as it said so
				c.sent = append(c.sent, id)
			}
		default:
			failed += lines.Text() + "\n"
		}
	}
	switch {
	case said:
	case failed != "":
		opened <- errors.New(failed)
	default:
		opened <- io.EOF
	}
}

// spawn starts a worker process.
func (c *cluster) spawn(w worker) *child {
	c.t.Helper()
	p, err := w.start()
	if err != nil {
		c.t.Fatalf("the child could not open: %v", err)
	}
	c.t.Cleanup(p.kill)
	return p
}

func (c *cluster) worker(dir string) worker {
	return worker{Dir: dir, Brokers: c.brokers, Prefix: c.prefix, Shards: c.shards, Dynamo: os.Getenv("CQRS_DYNAMODB"), Table: c.table}
}

func (c *child) kill() {
	_ = c.Process.Kill()
	<-c.gone
	_ = c.Wait()
}

// newProcesses is a cluster for child processes, with a member of this process that sends and reads.
func newProcesses(c *cluster) (here *member) {
	if c.table == "" {
		c.store = nil // each process has its own archive
	}
	return c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
}
