package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/internal/servers/dynamoserver"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
)

var faults = map[string]dynamofaults.Fault{
	"throttled 9 of 10":     dynamofaults.Sometimes(0.9, dynamofaults.Throttled),
	"server errors 5 of 10": dynamofaults.Sometimes(0.5, dynamofaults.Broken),
	"garbage 5 of 10":       dynamofaults.Sometimes(0.5, dynamofaults.Garbage),
	"answer lost 5 of 10":   dynamofaults.Sometimes(0.5, dynamofaults.AnswerLost),
	"no answer 1 of 10":     dynamofaults.Sometimes(0.1, dynamofaults.Hangs),
	"parts of batches":      dynamofaults.Partial,
	"parts, throttled, broken": dynamofaults.Sometimes(0.3, dynamofaults.Either(dynamofaults.Throttled, dynamofaults.Broken,
		dynamofaults.Garbage, dynamofaults.AnswerLost, dynamofaults.Partial)),
}

// TestInvariant20Faults puts and reads through a network that fails. What Put says is done is there, once, and nothing else.
func TestInvariant20Faults(t *testing.T) {
	for name, f := range faults {
		for _, way := range []string{"Put", "PutNew"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				s, n := newStore(t, f, dynamo.Timeout(300*time.Millisecond), dynamo.LongestPause(5*time.Millisecond))
				w := newWorld()
				records := append(w.records(40), w.record(), w.record([]byte("a"), []byte("b"), []byte("c")))
				put := s.Put
				if way == "PutNew" {
					put = s.PutNew
				}
				for _, part := range [][]store.Record{records[:1], records[1:30], records[20:]} {
					if err := put(t.Context(), part); err != nil {
						t.Fatal(err)
					}
				}
				logIs(t, s, records)
				eventsAre(t, s, w.kind, records)
				good := dynamo.New(newClient(address(t), nil), s.Table())
				logIs(t, good, records)
				eventsAre(t, good, w.kind, records)
				if n.Faults() == 0 {
					t.Error("the fault did not happen")
				}
			})
		}
	}
}

// TestAwayForAWhile has calls go on while nothing works, for longer than the client's own budget of retries lasts.
func TestAwayForAWhile(t *testing.T) {
	for name, f := range map[string]dynamofaults.Fault{
		"refused": dynamofaults.Refused, "throttled": dynamofaults.Throttled, "broken": dynamofaults.Broken,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			away := &dynamofaults.AwayFor{For: 20 * time.Second, How: f}
			s, n := newStore(t, away.Fault, dynamo.FirstAnswer(time.Second))
			w := newWorld()
			records := w.records(160)
			if err := s.Put(t.Context(), records[:1]); err != nil {
				t.Fatal(err)
			}
			away.Arm()
			began := time.Now()
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					if err := s.Put(t.Context(), records[i*20:(i+1)*20]); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); took < away.For || took > away.For+40*time.Second {
				t.Errorf("it took %v", took)
			}
			logIs(t, s, records)
			eventsAre(t, s, w.kind, records)
			if most := int64(8 * 60); n.Faults() > most { // pauses grow to half a second
				t.Errorf("%d requests were made while nothing worked, and %d are enough", n.Faults(), most)
			}
		})
	}
}

// Invariant 20: what is tried again for a while is seen, and no longer when it is over.
func TestTroubleIsSeen(t *testing.T) {
	t.Parallel()
	s, n := newStore(t, nil)
	records := newWorld().records(3)
	mustPut(t, s.Put, records[:1]...)
	if err := s.Trouble(); err != nil {
		t.Errorf("all is well, and it says %v", err)
	}
	n.Set(dynamofaults.Throttled)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Put(t.Context(), records) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for time.Since(began) < 30*time.Second && s.Trouble() == nil {
		<-look.C
	}
	if took, err := time.Since(began), s.Trouble(); took < time.Second || err == nil || !strings.Contains(err.Error(), "injected") {
		t.Errorf("after %v it says: %v", took, err)
	}
	n.Set(nil)
	if err := <-done; err != nil || s.Trouble() != nil {
		t.Errorf("it is over (%v), and it says %v", err, s.Trouble())
	}
}

// TestServerHangs stops the server where it is, with its connections open, and then lets it go on.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	server := dynamoserver.Start(t)
	n := dynamofaults.New(t, nil)
	s := dynamo.New(newClient(server.URL, n), newTable(t, server.URL), dynamo.Timeout(200*time.Millisecond))
	w := newWorld()
	records := w.records(40)
	if err := s.Put(t.Context(), records[:10]); err != nil {
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	before := n.Total()
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), records[10:]) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); n.Total() < before+4; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it does not try again")
		}
	}
	select {
	case err := <-done:
		t.Errorf("Put ended while the server stood still: %v", err)
	default:
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	logIs(t, s, records)
	eventsAre(t, s, w.kind, records)
}

// TestContextEndsUnderFault checks that a call ends with its context, and says what was in the way.
func TestContextEndsUnderFault(t *testing.T) {
	for name, c := range map[string]struct {
		fault dynamofaults.Fault
		want  string
	}{
		"throttled": {dynamofaults.Throttled, "injected"},
		"cut off":   {dynamofaults.Sometimes(1, dynamofaults.AnswerLost), dynamofaults.ErrCut.Error()},
		"no answer": {dynamofaults.Hangs, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newStore(t, c.fault, dynamo.FirstAnswer(time.Hour))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := s.Put(ctx, newWorld().records(3))
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Put gave %v", err)
			}
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("Put went on for %v", d)
			}
		})
	}
}

func TestMissingTable(t *testing.T) {
	s := dynamo.New(newClient(address(t), nil), "no-such-table")
	for name, err := range failing(t, s) {
		if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || !strings.Contains(err.Error(), "no-such-table") ||
			!strings.Contains(err.Error(), "CreateTable") {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// failing are the errors of all calls, which must come within seconds.
func failing(t *testing.T, s *dynamo.Store) map[string]error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := newWorld().records(1)
	_, event := s.Event(ctx, r[0].Events[0].ID)
	_, commit := s.Commit(ctx, r[0].Command)
	_, last := s.Last(ctx, 1)
	errs := map[string]error{
		"Put": s.Put(ctx, r), "PutNew": s.PutNew(ctx, r), "Event": event, "Commit": commit, "Last": last, "Log": nil, "Query": nil,
	}
	for _, errs["Log"] = range s.Log(ctx, 1, 1) {
	}
	for _, errs["Query"] = range s.Query(ctx, store.Query{Type: "a"}) {
	}
	if ctx.Err() != nil {
		t.Fatal("the calls did not end within seconds")
	}
	return errs
}

func TestWrongEndpoint(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }))
	defer site.Close()
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	for name, url := range map[string]string{
		"nobody listens": "http://" + closed.Addr().String(), "a web site": site.URL, "nothing there": nothing.URL, "no such host": "http://no.such.host.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dynamo.New(newClient(url, nil), "events", dynamo.FirstAnswer(300*time.Millisecond))
			errs := failing(t, s)
			errs["CreateTable"] = s.CreateTable(t.Context())
			for call, err := range errs {
				if err == nil || !strings.Contains(err.Error(), "endpoint") || !strings.Contains(err.Error(), "events") {
					t.Errorf("%s gave %v", call, err)
				}
			}
		})
	}
}

// TestRestart kills the server while records are put, and starts it again on the same data.
func TestRestart(t *testing.T) {
	server := dynamoserver.Start(t)
	s := dynamo.New(newClient(server.URL, nil), newTable(t, server.URL), dynamo.Timeout(2*time.Second))
	w := newWorld()
	records := w.records(150)
	if err := s.Put(t.Context(), records[:10]); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		for i := 10; i < len(records); i += 10 {
			if err := s.Put(t.Context(), records[i:i+10]); err != nil {
				done <- err
				return
			}
			if i == 50 {
				close(first)
			}
		}
		done <- nil
	}()
	<-first
	server.Kill()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	logIs(t, s, records)
	eventsAre(t, s, w.kind, records)
}

func TestParallelIsBounded(t *testing.T) {
	s, n := newStore(t, nil, dynamo.Parallel(3))
	w := newWorld()
	records := w.records(100)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := s.Put(t.Context(), records[i*25:(i+1)*25]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	logIs(t, s, records)
	if most := n.Most(); most > 3 {
		t.Errorf("%d requests were under way at once, and 3 are allowed", most)
	}
}
