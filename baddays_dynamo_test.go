package cqrs_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/google/uuid"
)

// DynamoDB's bad days, as a program meets them: on the network of its own client, while commands flow, and in the middle of which the owner of a
// shard is replaced.

// newDynamoCluster is a cluster whose members reach their store over a network on which faults can happen.
func newDynamoCluster(t *testing.T, shards int) (*cluster, *dynamofaults.Network) {
	t.Helper()
	n := dynamofaults.New(t, nil) // first, so that it ends last
	c := newCluster(t, shards)
	if c.table == "" {
		t.Skip("it needs a DynamoDB: make test starts one, and CQRS_DYNAMODB names it")
	}
	return c, n
}

// addOver starts a process with a client of its own over the network.
func (c *cluster) addOver(n *dynamofaults.Network, role cqrs.Role) *member {
	return c.add("", func(cfg *cqrs.Config) {
		client := dynamoClient(os.Getenv("CQRS_DYNAMODB"), n)
		cfg.Role, cfg.Store = role, dynamo.New(client, c.table, dynamo.Timeout(300*time.Millisecond))
	})
}

// addAllOver starts a replica, which is to send, and three workers.
func (c *cluster) addAllOver(n *dynamofaults.Network) (here *member, workers map[*member]bool) {
	here, workers = c.addOver(n, cqrs.Replica), map[*member]bool{}
	for range 3 {
		workers[c.addOver(n, cqrs.Worker)] = true
	}
	return here, workers
}

// owner is the member that works a shard.
func (c *cluster) owner(shard int) (is *member) {
	c.t.Helper()
	eventually(c.t, func() bool {
		is = nil
		for _, m := range c.members {
			if m.rt.Health()[shard].Owner {
				is = m
			}
		}
		return is != nil
	})
	return is
}

// replaceOwner ends the process that works a shard, which must not take it long, and waits until another does.
func (c *cluster) replaceOwner(shard int) (gone *member) {
	c.t.Helper()
	gone = c.owner(shard)
	began := time.Now()
	gone.stop()
	if took := time.Since(began); took > 5*time.Second {
		c.t.Errorf("the owner took %v to end", took)
	}
	c.owner(shard)
	return gone
}

func TestCommandsFlowWhileDynamoDBIsInTrouble(t *testing.T) {
	t.Parallel()
	lost := dynamofaults.Either(dynamofaults.Hangs, dynamofaults.AnswerLost, dynamofaults.Refused)
	all := dynamofaults.Either(dynamofaults.Throttled, dynamofaults.Partial, dynamofaults.AnswerLost)
	for name, bad := range map[string]struct {
		fault dynamofaults.Fault
		n     int // commands that end before and after the owner is replaced
	}{
		"throttled 9 of 10":   {dynamofaults.Sometimes(0.9, dynamofaults.Throttled), 1}, // a batch takes half a minute
		"half of each batch":  {dynamofaults.Partial, 200},
		"applied or not":      {dynamofaults.Sometimes(0.3, lost), 200},
		"all of it, together": {dynamofaults.Sometimes(0.5, all), 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, n := newDynamoCluster(t, 2)
			here, left := c.addAllOver(n)
			ctx, cancel := context.WithTimeout(t.Context(), 240*time.Second)
			defer cancel()
			stop := c.keepLoading(ctx, 24, here.rt)
			c.progress(ctx, 50)
			n.Set(bad.fault)
			c.progress(ctx, bad.n)
			delete(left, c.replaceOwner(0))
			c.progress(ctx, bad.n)
			if n.Faults() < 10 {
				t.Errorf("only %d faults happened", n.Faults())
			}
			n.Set(nil)
			stop()
			c.checkAll(here, left)
			t.Logf("%d commands, %d faults in %d requests", len(c.sent), n.Faults(), n.Total())
		})
	}
}

// checkAll is check of all that are left, and of one that begins now.
func (c *cluster) checkAll(here *member, left map[*member]bool) {
	c.t.Helper()
	members := []*member{here, c.add("")}
	for m := range left {
		members = append(members, m)
	}
	c.check(members...)
}

// Nothing that is not stored is shown, or told; Send works all the time.
func TestCommandsWaitWhileDynamoDBIsDown(t *testing.T) {
	t.Parallel()
	c, n := newDynamoCluster(t, 2)
	here, left := c.addAllOver(n)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	stop := c.keepLoading(ctx, 12, here.rt)
	c.progress(ctx, 50)
	n.Set(dynamofaults.Refused)
	began := time.Now()
	complains(t, c.owner(0), "connection refused")
	complains(t, c.owner(1), "connection refused")
	delete(left, c.replaceOwner(0))
	c.sendWhile(ctx, here, func() bool { return time.Since(began) < 10*time.Second })
	waiting := c.ended()
	c.sendWhile(ctx, here, func() bool { return time.Since(began) < 20*time.Second })
	if more := c.ended() - waiting; more > 0 {
		t.Errorf("%d commands ended while nothing could be stored", more)
	}
	n.Set(nil)
	c.progress(ctx, 50)
	stop()
	c.background.Wait()
	c.checkAll(here, left)
}

// sendWhile sends a command now and then, which must not take long, and waits for its end in the background.
func (c *cluster) sendWhile(ctx context.Context, m *member, is func() bool) {
	c.t.Helper()
	for is() && ctx.Err() == nil {
		began, id := time.Now(), uuid.Must(uuid.NewV7())
		r, err := m.rt.Send(ctx, add{Name: "k1", By: 1}, cqrs.WithKey("k1"), cqrs.WithID(id))
		if took := time.Since(began); err != nil || took > 3*time.Second {
			c.t.Errorf("Send gave %v after %v", err, took)
			return
		}
		c.background.Go(func() {
			out, err := r.Wait(ctx)
			c.note(told{id: id, shard: r.Shard, out: out, err: err})
		})
		sleepFor(ctx, 500*time.Millisecond)
	}
}
