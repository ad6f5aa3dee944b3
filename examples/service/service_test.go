package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/bolt"
	"github.com/google/uuid"
)

// broken is a command with a defect.
type broken struct {
	Account string `json:"account"`
}

func (broken) CommandType() string { return "test/broken" }
func (broken) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	panic("a defect")
}

// site is an instance that a test asks.
type site struct {
	t   *testing.T
	rt  *cqrs.Runtime
	url string
}

// newSite starts an instance. Without work nobody decides its commands.
func newSite(t *testing.T, work bool, change ...func(*cqrs.Config)) *site {
	t.Helper()
	cfg := config()
	cfg.Commands = append(cfg.Commands, broken{})
	cfg.Log = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	if work {
		go func() { ended <- rt.Run(context.Background()) }()
	} else {
		ended <- nil
	}
	web := httptest.NewServer(newService(rt, cfg, 300*time.Millisecond).handler())
	t.Cleanup(func() {
		web.Close()
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return &site{t, rt, web.URL}
}

// got is an answer.
type got struct {
	status int
	header http.Header
	body   string
	fault  fault
}

// ask makes a request, such as "GET /accounts/1" or "POST /commands/x {}".
func (s *site) ask(request string, header ...string) got {
	s.t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	path, body, _ := strings.Cut(rest, " ")
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	g := got{status: w.StatusCode, header: w.Header, body: string(text)}
	if err == nil && g.status >= 400 {
		err = json.Unmarshal(text, &struct{ Error *fault }{&g.fault})
	}
	if err != nil {
		s.t.Fatalf("%s: %v: %s", request, err, text)
	}
	return g
}

func (s *site) want(status int, part, request string, header ...string) got {
	s.t.Helper()
	g := s.ask(request, header...)
	if g.status != status || !strings.Contains(g.body, part) {
		s.t.Errorf("%s %v: %d %s, and %d with %q was expected", request, header, g.status, g.body, status, part)
	}
	if retry := g.header.Get("Retry-After") != ""; retry != (status == 503) || g.fault.Retry != retry {
		s.t.Errorf("%s: Retry-After is %v, and the fault %+v", request, retry, g.fault)
	}
	return g
}

func TestCommands(t *testing.T) {
	s := newSite(t, true)
	id := uuid.NewString()
	open := `POST /commands/account/open {"account":"1","owner":"Ann"}`
	first := s.want(200, `"basis":"0-1"`, open, "Idempotency-Key", id)
	if first.header.Get("Basis") != "0-1" || !strings.Contains(first.body, `"type":"account/opened"`) || !strings.Contains(first.body, id) {
		t.Errorf("%v %s", first.header, first.body)
	}
	s.want(200, `"basis":"0-1","repeat":true`, open, "Idempotency-Key", id)
	s.want(200, `"basis":"0-2"`, `POST /commands/account/deposit {"account":"1","cents":"50"}`)

	s.want(422, `"tag":"rejected"`, open)
	s.want(422, `"cents":50`, `POST /commands/account/withdraw {"account":"1","cents":51}`)
	s.want(422, `"tag":"validation"`, `POST /commands/account/deposit {"account":"1","cents":-1}`)
	s.want(409, `"tag":"id-conflict"`, `POST /commands/account/deposit {"account":"1","cents":1}`, "Idempotency-Key", id)
	if g := s.want(500, `"tag":"process-command"`, `POST /commands/test/broken {"account":"1"}`); g.fault.Level != "dev" || g.fault.ID == nil {
		t.Errorf("%+v", g.fault)
	}
	s.want(404, "there is no command", `POST /commands/account/close {"account":"1"}`)
	s.want(400, "must be a uuid", open, "Idempotency-Key", "1")
	s.want(400, "JSON object", `POST /commands/account/open {"account":`)
	s.want(400, "JSON object", fmt.Sprintf(`POST /commands/account/open {"account":"%0200d"}`, 1))
	s.want(413, "at most", fmt.Sprintf(`POST /commands/account/open {"account":"%0100000d"}`, 1))
	s.want(404, "not known", "DELETE /accounts/1")
	if v := s.rt.View(); v.T() != 2 {
		t.Errorf("t is %d", v.T())
	}
}

// If-Match is the basis: who has not seen the newest value is told.
func TestIfMatch(t *testing.T) {
	s := newSite(t, true)
	s.want(200, "", `POST /commands/account/open {"account":"1","owner":"Ann"}`)
	seen := s.ask("GET /accounts/1").header.Get("ETag")
	s.want(200, "", `POST /commands/account/deposit {"account":"1","cents":5}`)
	rename := `POST /commands/account/rename {"account":"1","owner":"Bob"}`
	s.want(409, `"tag":"conflict"`, rename, "If-Match", seen)
	s.want(200, "", rename, "If-Match", s.ask("GET /accounts/1").header.Get("ETag"))
	s.want(200, `"owner":"Bob"`, "GET /accounts/1")
	s.want(400, "If-Match", rename, "If-Match", `"1-2"`)
}

func TestReads(t *testing.T) {
	s := newSite(t, true)
	s.want(200, "", `POST /commands/account/open {"account":"1","owner":"Ann"}`)
	s.want(404, "not found", "GET /accounts/2")
	etag := s.want(200, `"cents":0`, "GET /accounts/1").header.Get("ETag")
	if g := s.ask("GET /accounts/1", "If-None-Match", `"0-0", W/`+etag); g.status != 304 || g.body != "" {
		t.Errorf("%d %s", g.status, g.body)
	}
	basis := s.want(200, "", `POST /commands/account/deposit {"account":"1","cents":7}`).header.Get("Basis")
	s.want(200, `"cents":7`, "GET /accounts/1", "If-None-Match", etag)
	s.want(200, `"cents":7`, "GET /accounts/1", "Basis", basis)
	if g := s.want(200, `"cents":0`, "GET /accounts/1?at=0-1"); g.header.Get("ETag") != `"0-1"` || !strings.Contains(g.header.Get("Cache-Control"), "immutable") {
		t.Errorf("%v", g.header)
	}
	s.want(503, "has not reached", "GET /accounts/1?at=0-3")
	s.want(503, "has not reached", "GET /accounts/1", "Basis", "0-3")
	s.want(400, "none of shard 0", "GET /accounts/1", "Basis", "1-1")
	s.want(400, "none of shard 0", "GET /accounts/1?at=yesterday")
	s.want(200, `"accounts":1,"cents":7,"movements":1`, "GET /shards/0")
	s.want(200, `"cents":0`, "GET /shards/0?at=0-1")
	s.want(404, "there are shards", "GET /shards/1")
	s.want(200, "", `POST /commands/account/open {"account":"2","owner":"Bob"}`)
	page := s.want(200, `"account":"1"`, "GET /shards/0/accounts?n=1")
	var next struct{ Next string }
	if err := json.Unmarshal([]byte(page.body), &next); err != nil || next.Next == "" {
		t.Fatal(page.body, err)
	}
	s.want(200, `"account":"2"`, "GET /shards/0/accounts?n=1&after="+next.Next)
	s.want(200, `"owner":true,"t":3`, "GET /health")
}

func TestPrunedPastIsGone(t *testing.T) {
	s := newSite(t, true, func(c *cqrs.Config) { c.KeepHistory = 1 })
	for range 3 {
		s.ask(`POST /commands/account/open {"account":"1","owner":"Ann"}`)
		s.ask(`POST /commands/account/deposit {"account":"1","cents":7}`)
	}
	s.want(410, "history", "GET /accounts/1?at=0-1")
}

// sulky is a queue that keeps a command and does not say so, once.
type sulky struct {
	*bolt.Queue
	once atomic.Bool
}

func (q *sulky) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	err := q.Queue.Append(ctx, topic, shard, msgs)
	if err == nil && topic == "commands" && q.once.CompareAndSwap(false, true) {
		err = fmt.Errorf("%w: the answer was lost", queue.ErrUnknown)
	}
	return err
}

// A command of which nobody knows whether it was kept gets 503, and has one effect when it is sent again under its id.
func TestUnknownIsRetryable(t *testing.T) {
	q, err := bolt.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	s := newSite(t, true, func(c *cqrs.Config) { c.Queue = &sulky{Queue: q} })
	open := `POST /commands/account/open {"account":"1","owner":"Ann"}`
	g := s.want(503, "not known whether", open)
	if g.fault.ID == nil {
		t.Fatalf("%+v", g.fault)
	}
	s.want(200, `"basis":"0-1"`, open, "Idempotency-Key", g.fault.ID.String())
}

// A command that is kept and has not ended in time gets 503; its id finds the end later.
func TestSlowEndIsRetryable(t *testing.T) {
	s := newSite(t, false)
	open := `POST /commands/account/open {"account":"1","owner":"Ann"}`
	g := s.want(503, "has not ended yet", open)
	done := make(chan error, 1)
	go func() { done <- s.rt.Run(context.Background()) }()
	s.want(200, `"basis":"0-1"`, open, "Idempotency-Key", g.fault.ID.String())
	if err := errors.Join(s.rt.Close(), <-done); err != nil {
		t.Error(err)
	}
	s.want(503, "closed", open)
}

// An instance that is told to end takes no new request, and answers those that it has taken: until then the runtime works.
func TestDrain(t *testing.T) {
	cfg := config()
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	arrived := make(chan struct{}, 2)
	answer := newService(rt, cfg, 10*time.Second).handler()
	go func() {
		ended <- listen(ctx, rt, listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			answer.ServeHTTP(w, r)
		}))
	}()
	s := &site{t, rt, "http://" + listener.Addr().String()}
	s.want(200, "", "GET /health")
	<-arrived

	taken := make(chan got, 1)
	go func() { taken <- s.ask("GET /accounts/1", "Basis", "0-1") }()
	<-arrived
	cancel()
	for refused := false; !refused; {
		c, err := net.Dial("tcp", listener.Addr().String())
		if refused = err != nil; !refused {
			c.Close()
		}
	}
	if _, err := rt.Send(t.Context(), Open{"1", "Ann"}, cqrs.WithKey("1")); err != nil {
		t.Fatal(err)
	}
	if g := <-taken; g.status != 200 {
		t.Errorf("%+v", g)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
