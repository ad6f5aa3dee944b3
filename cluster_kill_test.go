package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/google/uuid"
)

// Processes of a cluster that are killed, and stopped for longer than the group waits for them.

// killings kill three workers and a replica, again and again, while commands flow.
type killings struct {
	*cluster
	here  *member
	want  int64
	kills atomic.Int64
	steps atomic.Int64 // of these, at a step of a batch

	mu   sync.Mutex
	sent []uuid.UUID // by children that were killed afterwards
}

// The steps of a batch, and of what is applied, at which processes die.
var batchSteps = []string{
	"call command/process", "flush event/out-queue", "flush event/store", "flush event/aggregator", "file: commit", "file: committed", "publish",
	"flush command/feedback", "commit", "committed", "acked", "settle",
}

// TestWorkersAreKilled kills processes at drawn steps of their batches, and from outside, and in the middle of it the broker.
func TestWorkersAreKilled(t *testing.T) {
	t.Parallel()
	server := ownBroker(t)
	k := &killings{cluster: clusterOn(t, server, 2), want: clusterKills(t)}
	k.here = newProcesses(k.cluster)
	ctx, cancel := context.WithCancel(t.Context())
	stop := k.keepLoading(ctx, 6, k.here.rt)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()}
	var lanes sync.WaitGroup
	for i, dir := range dirs {
		lanes.Go(func() { k.lane(i, dir) })
	}
	if server != nil {
		k.killBroker(server)
	}
	lanes.Wait()
	defer time.AfterFunc(time.Minute, cancel).Stop() // by then all that was sent has ended
	members := []*member{k.here}
	for _, dir := range dirs {
		members = append(members, k.add(dir))
	}
	stop()
	k.check(members...)
	k.checkSent()
	if kills, ended := k.kills.Load(), int64(k.ended()); k.steps.Load() < kills/5 || ended < kills {
		t.Errorf("%d kills at steps, and %d commands: they did not come to their work", k.steps.Load(), ended)
	}
	t.Logf("%d commands and %d of children, %d kills, %d of them at a step", len(k.cluster.sent), len(k.sent), k.kills.Load(), k.steps.Load())
}

// ownBroker is a broker that can be killed, or nil.
func ownBroker(t *testing.T) *kafkaserver.Server {
	if os.Getenv(kafkaserver.Home) == "" {
		return nil
	}
	return kafkaserver.Start(t)
}

func clusterOn(t *testing.T, server *kafkaserver.Server, shards int) *cluster {
	if server == nil {
		return newCluster(t, shards)
	}
	return newClusterOn(t, []string{server.Addr}, shards)
}

func clusterKills(t *testing.T) int64 {
	switch {
	case os.Getenv(killsEnv) != "":
		return int64(killsWanted(t))
	case os.Getenv("CQRS_KAFKA") == "":
		return 6 // the group of the test's own Kafka is slow to give up on a process
	case testing.Short():
		return 15
	}
	return 60
}

// lane starts the process of a folder again and again, and kills it, until there were enough kills. The fourth is a replica. The group keeps the
// places of the first and the second for the processes that begin after them.
func (k *killings) lane(i int, dir string) {
	w := k.worker(dir)
	w.Session, w.Sends = time.Second, i == 1
	switch i {
	case 0, 1:
		w.Name = fmt.Sprint("worker-", i)
	case 3:
		w.Role = cqrs.Replica
	}
	for k.kills.Load() < k.want && !k.t.Failed() {
		if w.DieAt = ""; rand.IntN(3) > 0 {
			w.DieAt = fmt.Sprint(batchSteps[rand.IntN(len(batchSteps))], "#", 1+rand.IntN(9))
		}
		if err := k.one(w); err != nil {
			k.t.Errorf("a process that is to be killed at %q: %v", w.DieAt, err)
			return
		}
	}
}

// one starts a process, and sees to it that it is killed: at a step, if it comes to it in time, and else from outside.
func (k *killings) one(w worker) error {
	p, err := w.start()
	if p == nil {
		return err
	}
	if err == nil {
		k.outside(p, w.DieAt != "")
	}
	<-p.gone
	k.mu.Lock()
	k.sent = append(k.sent, p.sent...)
	k.mu.Unlock()
	if e, ok := errors.AsType[*exec.ExitError](p.Wait()); !ok || e.Exited() {
		return errors.Join(errors.New("it ended by itself"), err)
	}
	k.kills.Add(1)
	return nil
}

// outside kills a process in the midst of its work, unless it does so itself.
func (k *killings) outside(p *child, step bool) {
	want, limit := k.ended()+5, time.NewTimer(5*time.Second)
	if step {
		want += 50
	}
	moment := time.Duration(rand.IntN(100)) * time.Millisecond
	for {
		select {
		case <-p.gone:
			k.steps.Add(1)
			return
		case <-limit.C:
			want = 0
		case <-time.After(5 * time.Millisecond):
		}
		if k.ended() >= want {
			if moment -= 5 * time.Millisecond; moment <= 0 {
				_ = p.Process.Kill()
				return
			}
		}
	}
}

// killBroker kills the broker after a third of the kills, and after two.
func (k *killings) killBroker(server *kafkaserver.Server) {
	for i := range int64(2) {
		for k.kills.Load() < (i+1)*k.want/3 && !k.t.Failed() {
			sleepFor(k.t.Context(), 5*time.Millisecond)
		}
		server.Kill()
		if err := server.Restart(k.t.Context()); err != nil {
			k.t.Error(err)
		}
	}
}

// checkSent makes sure that what the children sent has had its effect, once: sent again, it has none.
func (k *killings) checkSent() {
	ctx := patience(k.t)
	ids := make(chan uuid.UUID)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for id := range ids {
				r, err := k.here.rt.Send(ctx, ofAChild, cqrs.WithID(id), cqrs.WithKey(ofAChild.Name))
				if err != nil {
					k.t.Error(err)
					continue
				}
				if out, err := r.Wait(ctx); err != nil || !out.Repeat {
					k.t.Errorf("command %s of a child that was killed: %+v, %v", id, out, err)
				}
			}
		})
	}
	for _, id := range k.sent {
		ids <- id
	}
	close(ids)
	all.Wait()
}

// A worker is stopped in the midst of a batch, at its append to the log at the latest, until another works its shard: when it goes on, nothing of
// its batch counts, nor is it left in its folder.
func TestWorkerIsStoppedBeyondItsSession(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	here := newProcesses(c)
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	zombie, other := c.worker(t.TempDir()), c.worker(t.TempDir())
	zombie.Session, other.Session = time.Second, time.Second
	stop := c.keepLoading(ctx, 6, here.rt)
	for _, zombie.StopAt = range []string{"flush event/out-queue", "flush event/store", "flush event/aggregator", "flush command/feedback"} {
		z := c.spawn(zombie)
		c.progress(ctx, 20)
		c.stopMidBatch(ctx, z)
		o := c.spawn(other)
		c.progress(ctx, 30) // the other one has taken over
		if err := z.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		c.progress(ctx, 100)
		z.kill()
		o.kill()
	}
	a, b := c.add(zombie.Dir), c.add(other.Dir)
	stop()
	c.check(here, a, b)
}

// stopMidBatch asks a worker to stop in its next batch, and waits until it does.
func (c *cluster) stopMidBatch(ctx context.Context, p *child) {
	c.t.Helper()
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-p.stops:
	case <-ctx.Done():
		c.t.Fatal("it did not stop")
	}
}

// The broker stands still for longer than calls wait, so that what becomes of an append is not known, and is killed then: nothing came of what it was
// sent meanwhile.
func TestBrokerIsKilledWhileCommandsFlow(t *testing.T) {
	t.Parallel()
	server := kafkaserver.Start(t)
	c := newClusterOn(t, []string{server.Addr}, 2)
	c.kafka = []kafka.Option{kafka.Timeout(time.Second)}
	a, b := c.add(""), c.add("")
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	stop := c.keepLoading(ctx, 24, a.rt, b.rt)
	for range 2 {
		c.progress(ctx, 100)
		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
		complains(t, a, "")
		server.Kill()
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c.progress(ctx, 100)
	stop()
	c.check(a, b)
}
