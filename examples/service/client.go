package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// client sends requests to whichever instance answers.
type client struct {
	http    *http.Client
	urls    []*atomic.Pointer[string] // of the instances; an instance that starts again has another one
	retries atomic.Int64
	longest atomic.Int64 // that a command took to its final answer, with all retries, nanoseconds
}

func newClient(instances int) *client {
	c := &client{http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	for range instances {
		c.urls = append(c.urls, &atomic.Pointer[string]{})
	}
	return c
}

// final is the final answer to a command.
type final struct {
	status int
	answer answer
	fault  fault
}

// send sends a command under its id, to instance first, then to the next one, until there is a final answer.
func (c *client) send(ctx context.Context, first int, id uuid.UUID, kind string, data any) (f final, err error) {
	body, err := json.Marshal(data)
	if err != nil {
		return f, err
	}
	began := time.Now()
	for try := 0; ; try++ {
		url := *c.urls[(first+try)%len(c.urls)].Load() + "/commands/" + kind
		f, err = c.post(ctx, url, id, body)
		if err == nil && f.status != http.StatusServiceUnavailable {
			c.took(time.Since(began))
			return f, nil
		}
		if ctx.Err() != nil {
			return f, fmt.Errorf("command %s has no final answer: %w (%v, %+v)", id, ctx.Err(), err, f.fault)
		}
		c.retries.Add(1)
		pause(ctx, 50*time.Millisecond)
	}
}

func (c *client) took(d time.Duration) {
	for was := c.longest.Load(); int64(d) > was && !c.longest.CompareAndSwap(was, int64(d)); was = c.longest.Load() {
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (c *client) post(ctx context.Context, url string, id uuid.UUID, body []byte) (f final, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return f, err
	}
	r.Header.Set("Idempotency-Key", id.String())
	text, w, err := c.do(r)
	if err != nil {
		return f, err
	}
	f.status = w.StatusCode
	if f.status == http.StatusOK {
		return f, json.Unmarshal(text, &f.answer)
	}
	return f, json.Unmarshal(text, &struct{ Error *fault }{&f.fault})
}

// get reads from an instance, at least the value that basis names; without a basis its newest one.
func (c *client) get(ctx context.Context, instance int, path, basis string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, *c.urls[instance].Load()+path, nil)
	if err != nil {
		return err
	}
	if basis != "" {
		r.Header.Set("Basis", basis)
	}
	text, w, err := c.do(r)
	if err == nil && w.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", r.URL, w.Status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (c *client) do(r *http.Request) ([]byte, *http.Response, error) {
	w, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return text, w, err
}
