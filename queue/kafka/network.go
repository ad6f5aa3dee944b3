package kafka

import (
	"context"
	"net"
	"sync"

	"github.com/IBM/sarama"
)

// network makes connections that end together. The client's own way to close a connection waits for the answers that are on
// their way, which a broker that hangs never gives.
type network struct {
	base *sarama.Config
	ctx  context.Context

	mu   sync.Mutex
	cut  bool
	open map[*connection]struct{}
}

// newNetwork makes a network whose connections end with ctx.
func newNetwork(ctx context.Context, base *sarama.Config) *network {
	n := &network{base: base, ctx: ctx, open: map[*connection]struct{}{}}
	context.AfterFunc(ctx, n.closeAll)
	return n
}

// config is the configuration of clients that connect over this network.
func (n *network) config() *sarama.Config {
	c := *n.base
	c.Net.Proxy.Enable = true
	c.Net.Proxy.Dialer = n
	return &c
}

// Dial makes a connection.
func (n *network) Dial(kind, addr string) (net.Conn, error) {
	raw, err := n.dial(kind, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		raw.Close()
		return nil, net.ErrClosed
	}
	c := &connection{Conn: raw, network: n}
	n.open[c] = struct{}{}
	return c, nil
}

func (n *network) dial(kind, addr string) (net.Conn, error) {
	from := &n.base.Net
	if from.Proxy.Enable {
		return from.Proxy.Dialer.Dial(kind, addr)
	}
	d := net.Dialer{Timeout: from.DialTimeout, KeepAlive: from.KeepAlive, LocalAddr: from.LocalAddr}
	return d.DialContext(n.ctx, kind, addr)
}

func (n *network) closeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for c := range n.open {
		c.Conn.Close()
	}
	n.open = nil
}

// connection is known to its network while it is open.
type connection struct {
	net.Conn
	network *network
}

func (c *connection) Close() error {
	c.network.mu.Lock()
	delete(c.network.open, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}
