package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
)

// goka is the stream processor of Go's world: a processor for commands, which emits events, and one for events, which counts in a
// table on disk with a changelog in Kafka. It is tuned: producers flush after 1 ms instead of 100, and wait for one broker only, as
// by default. It knows no duplicates, so it counts those that are sent.

var kafkaGoka = benchmark{
	goals: []goal{atLeast("kafka-vs-goka-rate", 1.8, 3), shown("kafka-vs-goka-cpu")},
	needs: needsKafka,
	run: func(e *env) ([]float64, error) {
		n := e.n / 2
		pairs, err := race(e, e.rounds, onKafka(e, n), contender{"goka", func(round int) (usage, error) { return runGoka(e, n, int64(round)) }})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

// gokaApp is what runs.
type gokaApp struct {
	commands, events goka.Stream
	views            goka.Group
	emitter          *goka.Emitter
	room             chan struct{} // holds an entry for each command under way
	counts           map[string]int
	stop             context.CancelFunc
	ended            chan error
	running          int
}

// jsonCodec is the codec of a type.
type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v any) ([]byte, error) { return json.Marshal(v) }
func (jsonCodec[T]) Decode(b []byte) (any, error) {
	v := new(T)
	return v, json.Unmarshal(b, v)
}

func openGoka(dir string) (*gokaApp, error) {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gokaApp{
		commands: goka.Stream(newTopic("commands")), events: goka.Stream(newTopic("events")), views: goka.Group(newTopic("views")),
		room: make(chan struct{}, inFlight), counts: map[string]int{}, stop: cancel, ended: make(chan error, 2),
	}
	client, err := sarama.NewClient(brokers(), saramaConfig())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(createTopics(client, string(g.commands), string(g.events)), client.Close()); err != nil {
		return nil, err
	}
	config := gokaConfig()
	g.emitter, err = goka.NewEmitter(brokers(), g.commands, jsonCodec[pageView]{}, goka.WithEmitterLogger(silent()),
		goka.WithEmitterProducerBuilder(goka.ProducerBuilderWithConfig(config)))
	if err != nil {
		return nil, err
	}
	decide := goka.DefineGroup(goka.Group(newTopic("decide")), goka.Input(g.commands, jsonCodec[pageView]{}, g.decide),
		goka.Output(g.events, jsonCodec[pageViewed]{}))
	count := goka.DefineGroup(g.views, goka.Input(g.events, jsonCodec[pageViewed]{}, g.count), goka.Persist(jsonCodec[Views]{}))
	for _, graph := range []*goka.GroupGraph{decide, count} {
		if err := g.start(ctx, graph, config, dir); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

func gokaConfig() *sarama.Config {
	c := goka.DefaultConfig()
	c.Producer.Flush.Frequency = time.Millisecond
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }

func (g *gokaApp) start(ctx context.Context, graph *goka.GroupGraph, config *sarama.Config, dir string) error {
	tables := goka.NewTopicManagerConfig()
	tables.Table.Replication = 1
	p, err := goka.NewProcessor(brokers(), graph, goka.WithLogger(silent()),
		goka.WithProducerBuilder(goka.ProducerBuilderWithConfig(config)),
		goka.WithConsumerGroupBuilder(goka.ConsumerGroupBuilderWithConfig(config)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(config)),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(config, tables)),
		goka.WithStorageBuilder(storage.DefaultBuilder(dir)))
	if err != nil {
		return err
	}
	g.running++
	go func() { g.ended <- p.Run(ctx) }()
	return p.WaitForReadyContext(ctx)
}

func (g *gokaApp) decide(ctx goka.Context, m any) {
	c := m.(*pageView)
	ctx.Emit(g.events, ctx.Key(), viewed(c.ID, c.Data))
}

func (g *gokaApp) count(ctx goka.Context, m any) {
	user := m.(*pageViewed).Data.User
	row := Views{User: user}
	if v := ctx.Value(); v != nil {
		row = *v.(*Views)
	}
	row.Count++
	ctx.SetValue(&row)
	g.counts[user] = row.Count // this function runs in one goroutine: there is one partition
	<-g.room
}

func (g *gokaApp) send(w *work) error {
	var failed atomic.Pointer[error]
	for i := range w.len() {
		g.room <- struct{}{}
		p, err := g.emitter.Emit(userName(int(w.users[i])), &pageView{ID: w.ids[i], Data: w.view(i)})
		if err != nil {
			return err
		}
		p.Then(func(err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	for range inFlight {
		g.room <- struct{}{}
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (g *gokaApp) close() (err error) {
	err = g.emitter.Finish()
	g.stop()
	for range g.running {
		err = errors.Join(err, <-g.ended)
	}
	return err
}

// check compares the table with the work, its repetitions included.
func (g *gokaApp) check(w *work) error {
	want := map[string]int{}
	for _, user := range w.users {
		want[userName(int(user))]++
	}
	for user, n := range want {
		if g.counts[user] != n {
			return fmt.Errorf("%s has %d views, and %d were sent", user, g.counts[user], n)
		}
	}
	return nil
}

func runGoka(e *env, n int, seed int64) (u usage, err error) {
	w, err := newWork(n, seed)
	if err != nil {
		return usage{}, err
	}
	dir, err := e.folder()
	if err != nil {
		return usage{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := openGoka(dir)
	if err != nil {
		return usage{}, err
	}
	u, err = measure(n, func() error { return g.send(w) })
	return u, errors.Join(err, g.close(), g.check(w))
}
