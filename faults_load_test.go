package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// Those who send at the same time share the disk's time: each waits for its own command to be durable, and there are few fsyncs.
func TestSendersShareCommits(t *testing.T) {
	const senders, each = 64, 30
	cfg := counterConfig()
	cfg.NoSync = false
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprint("running ", running), func(t *testing.T) {
			rt, err := cqrs.Open(t.TempDir(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			if running {
				go func() { ended <- rt.Run(context.Background()) }()
				mustDo(t, rt, add{Name: "first"})
			} else {
				ended <- nil
			}
			before := cqrs.Commits(t, rt)
			sendFromMany(t, rt, senders, each, running)
			commits := cqrs.Commits(t, rt) - before
			t.Logf("%d commands took %d commits", senders*each, commits)
			if commits > senders*each/4 {
				t.Errorf("%d commands took %d commits", senders*each, commits)
			}
			if err := errors.Join(rt.Close(), <-ended); err != nil {
				t.Error(err)
			}
		})
	}
}

func sendFromMany(t *testing.T, rt *cqrs.Runtime, senders, each int, wait bool) {
	t.Helper()
	ctx := patience(t)
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for range each {
				r, err := rt.Send(ctx, add{Name: "a", By: 1})
				if err == nil && wait {
					_, err = r.Wait(ctx)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// peak runs work, and gives the most bytes that live objects took meanwhile.
func peak(work func()) uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	var most uint64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	work()
	close(done)
	watching.Wait()
	return most
}

// Invariant 22: a backlog is worked off in memory that does not grow with it, nor with the size of its commands.
func TestMemoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		name           string
		commands, size int
		bound          uint64
	}{
		{"many", 200_000, 1000, 128 << 20},
		{"large", 150, 1 << 20, 256 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() || underRace {
				c.commands /= 10
			}
			cfg := counterConfig()
			cfg.MaxInFlight, cfg.MaxCommand = 10, 2<<20
			rt, err := cqrs.Open(t.TempDir(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			fillBacklog(t, rt, c.commands, c.size)
			runtime.GC()
			most := peak(func() { workOff(t, rt, uint64(c.commands)) })
			t.Logf("%d commands of %d bytes: the heap took at most %d MB", c.commands, c.size, most>>20)
			if most > c.bound {
				t.Errorf("the heap took %d MB", most>>20)
			}
		})
	}
}

func fillBacklog(t *testing.T, rt *cqrs.Runtime, commands, size int) {
	t.Helper()
	step := min(1000, max(1, 8<<20/size))
	for sent := 0; sent < commands; sent += step {
		envelopes := make([]cqrs.Envelope, min(step, commands-sent))
		for i := range envelopes {
			data := fmt.Appendf(nil, `{"name":"n%d","by":1,"mode":"%s"}`, i%50, strings.Repeat("x", size))
			envelopes[i] = cqrs.Envelope{Type: "counter/add", Data: data}
		}
		if _, err := rt.Submit(t.Context(), envelopes...); err != nil {
			t.Fatal(err)
		}
	}
}

func workOff(t *testing.T, rt *cqrs.Runtime, last uint64) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	if _, err := rt.Shard(0).AtLeast(ctx, last); err != nil {
		t.Error(err)
	}
	if err := errors.Join(rt.Close(), <-ended); err != nil {
		t.Error(err)
	}
}

// stuck is a command whose decision waits for the test.
type stuck struct{ Name string }

func (stuck) CommandType() string { return "stuck" }

type gateKey struct{}

// gate is where stuck commands wait, whatever their context says.
type gate struct{ entered, open chan struct{} }

func (stuck) ProcessCommand(ctx context.Context, _ *cqrs.Decision) ([]cqrs.Event, error) {
	g := ctx.Value(gateKey{}).(*gate)
	g.entered <- struct{}{}
	<-g.open
	return nil, nil
}

// startStuck runs a runtime with a gate, and sends a command that is stuck there.
func startStuck(t *testing.T) (rt *cqrs.Runtime, g *gate, stop func()) {
	t.Helper()
	cfg := counterConfig()
	cfg.Commands = append(cfg.Commands, stuck{})
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g = &gate{make(chan struct{}, 8), make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.WithValue(context.Background(), gateKey{}, g)) }()
	mustDo(t, rt, add{Name: "first"}) // from now on those who send are taken along by Run
	return rt, g, func() {
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}
}

// A decision that hangs does not keep those who send beyond their contexts. Who was not in its transaction yet hears that the command
// was not kept, who was hears that it is unknown; in both cases sending it again is safe, and reads go on.
func TestSendEndsWithItsContextWhileADecisionHangs(t *testing.T) {
	rt, g, stop := startStuck(t)
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan error, 1)
	go func() { // it is in the transaction in which it hangs
		_, err := rt.Send(ctx, stuck{}, cqrs.WithID(uuid.Max))
		taken <- err
	}()
	<-g.entered
	late, cancelLate := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelLate()
	id := uuid.New()
	_, err := rt.Send(late, add{Name: "a", By: 1}, cqrs.WithID(id))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cqrs.ErrUnknown) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("a command that was not taken: %v", err)
	}
	if got := value(t, rt.View(), "a"); got != 0 || rt.Health()[0].T != 1 {
		t.Errorf("the counter is %d", got)
	}
	cancel()
	select {
	case err := <-taken:
		if !errors.Is(err, context.Canceled) || !errors.Is(err, cqrs.ErrUnknown) {
			t.Errorf("a command that was taken: %v", err)
		}
	case <-patience(t).Done():
		t.Error("Send waits for a decision beyond its context")
	}
	close(g.open)
	if out := mustDo(t, rt, stuck{}, cqrs.WithID(uuid.Max)); out.T != 2 {
		t.Errorf("sent again: %+v", out)
	}
	stop()
}

// While a command is tried again, those who send do not wait for the next try, however far off it is.
func TestSendIsPromptWhileACommandIsTriedAgain(t *testing.T) {
	rt, h, _ := start(t, t.TempDir(), counterConfig())
	h.down.Store(true)
	ctx := patience(t)
	first, err := rt.Send(ctx, add{Name: "a", By: 1, Mode: "down"})
	if err != nil {
		t.Fatal(err)
	}
	var last *cqrs.Receipt
	for h.calls.Load() < 5 { // by then the pauses have grown
		if last, err = rt.Send(ctx, add{Name: "a", By: 1}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range 40 { // each pause is longer than the one before
		if last, err = rt.Send(ctx, add{Name: "a", By: 1}); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
	h.down.Store(false)
	for _, r := range []*cqrs.Receipt{first, last} {
		if _, err := r.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
}

// Invariant 23: Close under load. Each Send ends, with nil or an error that says why, and what returned nil is done by the next Run.
func TestCloseUnderLoad(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var taken []uuid.UUID
	for round := range 8 {
		rt, _, stop := start(t, dir, counterConfig())
		var all sync.WaitGroup
		var sent atomic.Int64
		for range 16 {
			all.Go(func() {
				for {
					id := uuid.New()
					r, err := rt.Send(context.Background(), add{Name: "a", By: 1}, cqrs.WithID(id))
					if errors.Is(err, cqrs.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("send: %v", err)
						return
					}
					mu.Lock()
					taken = append(taken, id)
					mu.Unlock()
					if n := sent.Add(1); n%3 == 0 {
						if _, err := r.Wait(context.Background()); err != nil && !errors.Is(err, cqrs.ErrClosed) {
							t.Errorf("wait: %v", err)
						}
					}
				}
			})
		}
		for ctx := patience(t); sent.Load() < int64(50*round); {
			mustDeadline(t, ctx)
		}
		stop()
		all.Wait()
	}
	rt := quiet(t, dir, counterConfig())
	accepted, _, _ := checkEnded(t, rt, taken)
	t.Logf("%d commands were taken", accepted)
}
