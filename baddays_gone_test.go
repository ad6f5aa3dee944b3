package cqrs_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue/kafka"
)

// cable is the way to the brokers, until it is cut.
type cable struct {
	mu   sync.Mutex
	gone bool
	open []net.Conn
}

func (c *cable) Dial(kind, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errors.New("the cable is cut")
	}
	conn, err := net.Dial(kind, addr)
	if err == nil {
		c.open = append(c.open, conn)
	}
	return conn, err
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, conn := range c.open {
		conn.Close()
	}
}

// Invariants 20 and 23: Health tells at once that the brokers are gone, also of many shards, and Close does not wait for them.
func TestBrokersAreGone(t *testing.T) {
	c, line, config := newCluster(t, 4), &cable{}, kafka.NewConfig()
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, line
	c.kafka = []kafka.Option{kafka.Config(config)}
	a := c.add("")
	c.load(patience(t), 4, 5, a.rt).Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := c.keepLoading(ctx, 4, a.rt)
	ended := c.ended()
	eventually(t, func() bool { return c.ended() > ended+50 })
	line.cut()
	began := time.Now()
	for _, h := range a.rt.Health() {
		if h.Retrying == nil || h.Backlog < 0 {
			t.Errorf("%+v", h)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Health took %v", took)
	}
	began = time.Now()
	a.stop()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("Close took %v", took)
	}
	cancel()
	stop()
}

// Work that ends while its feedback is on its way, and does not arrive, is not held up by it.
func TestCloseDoesNotWaitForFeedbackThatHangs(t *testing.T) {
	rt, q, stop := startMute(t, func(int) error { return nil })
	mustDo(t, rt, add{Name: "a", By: 1})
	q.hang.Store(true)
	mustDo(t, rt, add{Name: "a", By: 1}) // its feedback is on its way
	began := time.Now()
	stop()
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("Close took %v", took)
	}
}
