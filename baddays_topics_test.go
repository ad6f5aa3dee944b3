package cqrs_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
)

// Topics that are deleted and made again under processes that run, and those that lose what they held.

// makeAnew deletes a topic and makes it again, as an operator does.
func (c *cluster) makeAnew(topic string) {
	c.t.Helper()
	admin := c.admin()
	if err := admin.DeleteTopic(c.prefix + topic); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, func() bool {
		topics, err := admin.ListTopics()
		return err == nil && topics[c.prefix+topic].NumPartitions == 0
	})
	openKafka(c.t, c.brokers, c.prefix, c.shards).Close()
}

// Who runs meanwhile says within seconds what has happened, and does not take the new topic for the old one: the owner always, the replica
// where it reads. Where offsets are kept in the data folders these can't be used any more.
func TestTopicIsMadeAnewUnderProcessesThatRun(t *testing.T) {
	for topic, is := range map[string]struct {
		replica, folder bool
		mode            string
	}{
		"commands": {folder: true, mode: "reject"}, "events": {replica: true, folder: true, mode: "reject"},
		"feedback": {replica: true, mode: "reject"}, "dead": {mode: "panic"},
	} {
		t.Run(topic, func(t *testing.T) {
			c := newCluster(t, 1)
			a := c.add("")
			b := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
			c.load(patience(t), 4, 5, a.rt, b.rt).Wait()
			c.check(a, b)
			_, _ = do(t, a.rt, add{Name: "k1", Mode: "panic"})
			c.makeAnew(topic)
			began := time.Now()
			c.sendInVain(b, is.mode, topic == "commands")
			complains(t, a, "deleted and made again")
			if is.replica {
				complains(t, b, "deleted and made again")
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took them %v", took)
			}
			a.stop()
			b.stop()
			if is.folder {
				again := c.add(a.dir)
				complains(t, again, "deleted and made again")
				again.stop()
				a.dir = ""
			}
			c.sent = nil // the feedback of before may be gone
			d := c.add(a.dir)
			c.load(patience(t), 4, 5, d.rt).Wait()
			c.check(d, c.add(""))
		})
	}
}

// sendInVain sends commands of which nothing comes: an error of Send, or no end.
func (c *cluster) sendInVain(m *member, mode string, refused bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	r, err := m.rt.Send(ctx, add{Name: "k1", Mode: mode})
	if (err != nil) != refused || ctx.Err() != nil {
		c.t.Errorf("Send gave %v", err)
	}
	if err == nil {
		_, err = r.Wait(ctx)
	}
	if err == nil {
		c.t.Error("the command came to an end")
	}
}

// Invariant 16: the broker comes back without the ends of topics, as after a power cut that took what was not on the disk yet. Nobody takes that
// for granted, neither at once nor when the log has grown again.
func TestTopicsLoseTheirEnds(t *testing.T) {
	t.Parallel()
	server := kafkaserver.Start(t)
	half := func(t *testing.T, segment string) {
		info, err := os.Stat(segment)
		if err == nil {
			err = os.Truncate(segment, info.Size()*65/100)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := func(t *testing.T, segment string) {
		if err := os.RemoveAll(filepath.Dir(segment)); err != nil {
			t.Fatal(err)
		}
	}
	all := []*lost{
		{name: "the log's end", topic: "events", cut: half, check: (*lost).checkEvents},
		{name: "the whole log", topic: "events", cut: whole, check: (*lost).checkEvents},
		{name: "commands", topic: "commands", cut: half, check: (*lost).checkCommands},
		{name: "feedback", topic: "feedback", cut: half, check: (*lost).checkFeedback},
	}
	for _, l := range all {
		l.begin(newClusterOn(t, []string{server.Addr}, 1))
	}
	server.Kill()
	for _, l := range all {
		l.cut(t, server.Segment(l.c.prefix+l.topic, 0))
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		t.Run(l.name, func(t *testing.T) {
			l.c.t = t
			l.check(l, t)
		})
	}
}

// lost is a cluster one of whose topics loses its end.
type lost struct {
	name  string
	topic string
	cut   func(t *testing.T, segment string)
	check func(*lost, *testing.T)

	c                 *cluster
	owner, other, off *member // the last one does not run meanwhile
}

func (l *lost) begin(c *cluster) {
	l.c = c
	l.owner = c.add("")
	l.other = c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	l.off = c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	c.load(patience(c.t), 4, 10, l.owner.rt, l.other.rt).Wait()
	c.check(l.owner, l.other, l.off)
	l.off.stop()
}

func (l *lost) checkEvents(t *testing.T) {
	complains(t, l.other, "it was truncated")
	l.c.sendInVain(l.other, "reject", false)
	complains(t, l.owner, "it was truncated")
	off := l.c.add(l.off.dir)
	complains(t, off, "it was truncated")
	for _, m := range []*member{l.owner, l.other, off} {
		m.stop()
	}
	anew := l.c.add("") // from the store
	l.c.load(patience(t), 4, 20, anew.rt).Wait()
	l.c.check(anew, l.c.add(""))
	complains(t, l.c.add(l.owner.dir), "holds another message")
	complains(t, l.c.add(l.off.dir), "holds another message")
}

func (l *lost) checkCommands(t *testing.T) {
	complains(t, l.owner, "the command queue ends at offset")
	l.owner.stop()
	l.other.stop()
	q := openKafka(t, l.c.brokers, l.c.prefix, 1)
	defer q.Close()
	if err := q.Commit(patience(t), "commands", 0, 0); err != nil {
		t.Fatal(err)
	}
	anew := l.c.add("")
	l.c.load(patience(t), 4, 20, anew.rt).Wait()
	l.c.check(anew, l.c.add(""))
}

func (l *lost) checkFeedback(t *testing.T) {
	complains(t, l.other, "the feedback queue of shard 0 was truncated")
	l.other.stop()
	l.c.sent = nil // their feedback is gone
	again := l.c.add(l.other.dir)
	l.c.load(patience(t), 4, 10, again.rt).Wait()
	l.c.check(again, l.owner)
}
