// Package dynamofaults is a network for tests on which DynamoDB has bad days: an http.RoundTripper between a client and its server that
// refuses, throttles, answers late, in part or never, and counts what it does.
package dynamofaults

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// Fault stands between the client and the server. It answers a call itself, or passes it on.
type Fault func(c *Call) (*http.Response, error)

// Network is a transport with a fault, which counts what it does.
type Network struct {
	fault    atomic.Pointer[Fault]
	requests sync.Map // of each operation: *atomic.Int64
	now      atomic.Int64
	most     atomic.Int64
	faults   atomic.Int64
	base     *http.Transport
}

// TB is what New needs of a *testing.T.
type TB interface{ Cleanup(func()) }

// New is a network with a fault, or without one when it is nil. Its connections are closed when the test ends.
func New(t TB, f Fault) *Network {
	n := &Network{base: &http.Transport{MaxIdleConnsPerHost: 32}}
	n.Set(f)
	t.Cleanup(n.base.CloseIdleConnections)
	return n
}

// Set changes the fault of the calls that come from now on; nil heals the network.
func (n *Network) Set(f Fault) {
	if f == nil {
		n.fault.Store(nil)
		return
	}
	n.fault.Store(&f)
}

// RoundTrip implements http.RoundTripper.
func (n *Network) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	defer n.begin()()
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	n.counter(op).Add(1)
	c := &Call{Request: r, Op: op, Body: body, base: n.base}
	fault := n.fault.Load()
	if fault == nil {
		return c.Pass()
	}
	resp, err := (*fault)(c)
	if resp == nil || resp != c.passed {
		n.faults.Add(1)
	}
	return resp, err
}

// begin counts a request as under way, until end is called.
func (n *Network) begin() (end func()) {
	now := n.now.Add(1)
	for most := n.most.Load(); now > most && !n.most.CompareAndSwap(most, now); most = n.most.Load() {
	}
	return func() { n.now.Add(-1) }
}

func (n *Network) counter(op string) *atomic.Int64 {
	count, _ := n.requests.LoadOrStore(op, new(atomic.Int64))
	return count.(*atomic.Int64)
}

// Count is how many requests of an operation were made.
func (n *Network) Count(op string) int64 { return n.counter(op).Load() }

// Total is how many requests were made.
func (n *Network) Total() (sum int64) {
	n.requests.Range(func(_, count any) bool {
		sum += count.(*atomic.Int64).Load()
		return true
	})
	return sum
}

// Faults is how many answers were not the server's.
func (n *Network) Faults() int64 { return n.faults.Load() }

// Most is how many requests were under way at once.
func (n *Network) Most() int64 { return n.most.Load() }

// Call is a request under way.
type Call struct {
	Request *http.Request
	Op      string // such as PutItem
	Body    []byte

	base   *http.Transport
	passed *http.Response
}

// Pass has the server answer.
func (c *Call) Pass() (resp *http.Response, err error) {
	c.passed, err = c.pass(c.Body)
	return c.passed, err
}

func (c *Call) pass(body []byte) (*http.Response, error) {
	again := c.Request.Clone(c.Request.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return c.base.RoundTrip(again)
}
