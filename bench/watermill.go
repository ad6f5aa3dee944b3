package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/google/uuid"
)

// The peer is watermill with its own CQRS component on Go channels, and JSON on both hops:
// command bus, handler, event bus, handler, view. Nothing but the view can be durable.
//
// It is tuned: nobody logs, Publish does not wait for the handler, the channels have buffers, and making the
// message ids and type names costs next to nothing.

// pageView and pageViewed are what travels: 200 and 291 bytes of JSON.
type (
	pageView struct {
		ID   uuid.UUID `json:"id"`
		Data PageView  `json:"data"`
	}
	pageViewed struct {
		ID      uuid.UUID `json:"id"`
		Type    string    `json:"type"`
		Time    int64     `json:"time"`
		Command uuid.UUID `json:"cid"`
		Data    PageView  `json:"data"`
	}
)

func viewed(id uuid.UUID, data PageView) *pageViewed {
	return &pageViewed{ID: id, Type: "page/viewed", Time: time.Now().UnixMilli(), Command: id, Data: data}
}

// mill is a running watermill. view is told of each event, from several goroutines at a time.
type mill struct {
	router *message.Router
	pubsub *gochannel.GoChannel
	bus    *cqrs.CommandBus
	room   chan struct{} // holds an entry for each command under way
	ended  chan error
}

func openMill(view func(user string, command uuid.UUID) error) (*mill, error) {
	m := &mill{room: make(chan struct{}, inFlight), ended: make(chan error, 1)}
	m.pubsub = gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: inFlight}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	m.router = router
	if err := m.wire(view); err != nil {
		return nil, err
	}
	go func() { m.ended <- router.Run(context.Background()) }()
	<-router.Running()
	return m, nil
}

func (m *mill) wire(view func(string, uuid.UUID) error) (err error) {
	marshaler := marshaler()
	m.bus, err = cqrs.NewCommandBusWithConfig(m.pubsub, cqrs.CommandBusConfig{
		GeneratePublishTopic: func(cqrs.CommandBusGeneratePublishTopicParams) (string, error) { return "commands", nil },
		Marshaler:            marshaler,
	})
	if err != nil {
		return err
	}
	events, err := cqrs.NewEventBusWithConfig(m.pubsub, cqrs.EventBusConfig{
		GeneratePublishTopic: func(cqrs.GenerateEventPublishTopicParams) (string, error) { return "events", nil },
		Marshaler:            marshaler,
	})
	if err != nil {
		return err
	}
	return errors.Join(m.handleCommands(marshaler, events), m.handleEvents(marshaler, view))
}

func (m *mill) handleCommands(marshaler cqrs.CommandEventMarshaler, events *cqrs.EventBus) error {
	p, err := cqrs.NewCommandProcessorWithConfig(m.router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) { return "commands", nil },
		SubscriberConstructor: func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return m.pubsub, nil
		},
		Marshaler: marshaler,
	})
	if err != nil {
		return err
	}
	return p.AddHandlers(cqrs.NewCommandHandler("view", func(ctx context.Context, c *pageView) error {
		return events.Publish(ctx, viewed(c.ID, c.Data))
	}))
}

func (m *mill) handleEvents(marshaler cqrs.CommandEventMarshaler, view func(string, uuid.UUID) error) error {
	p, err := cqrs.NewEventProcessorWithConfig(m.router, cqrs.EventProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.EventProcessorGenerateSubscribeTopicParams) (string, error) { return "events", nil },
		SubscriberConstructor: func(cqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return m.pubsub, nil
		},
		Marshaler: marshaler,
	})
	if err != nil {
		return err
	}
	return p.AddHandlers(cqrs.NewEventHandler("viewed", func(_ context.Context, e *pageViewed) error {
		defer func() { <-m.room }()
		return view(e.Data.User, e.Command)
	}))
}

func marshaler() cqrs.CommandEventMarshaler {
	var last atomic.Int64
	return cqrs.JSONMarshaler{
		NewUUID: func() string { return strconv.FormatInt(last.Add(1), 10) },
		GenerateName: func(v any) string {
			switch v.(type) {
			case *pageView, pageView:
				return "pageView"
			}
			return "pageViewed"
		},
	}
}

// send does the work: it waits for all of its events.
func (m *mill) send(w *work) error {
	for i := range w.len() {
		m.room <- struct{}{}
		if err := m.bus.Send(context.Background(), &pageView{ID: w.ids[i], Data: w.view(i)}); err != nil {
			return fmt.Errorf("command %d: %w", i, err)
		}
	}
	for range inFlight {
		m.room <- struct{}{}
	}
	return nil
}

func (m *mill) close() error { return errors.Join(m.router.Close(), m.pubsub.Close(), <-m.ended) }

// memoryView counts in a map, each command once.
type memoryView struct {
	mu     sync.Mutex
	counts map[string]int
	seen   map[uuid.UUID]struct{}
}

func newMemoryView() *memoryView {
	return &memoryView{counts: map[string]int{}, seen: map[uuid.UUID]struct{}{}}
}

func (v *memoryView) count(user string, command uuid.UUID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.seen[command]; !ok {
		v.seen[command] = struct{}{}
		v.counts[user]++
	}
	return nil
}

var watermillMemory = benchmark{
	goals: []goal{
		atLeast("embedded-vs-watermill-memory-rate", 1.2, 3),
		atMost("embedded-vs-watermill-memory-cpu", 0.6, 0.25),
	},
	run: func(e *env) ([]float64, error) {
		n := e.n / 2
		pairs, err := race(e, e.rounds, embedded(e, n), contender{"watermill, memory", func(round int) (usage, error) {
			return runMillInMemory(n, int64(round))
		}})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

func runMillInMemory(n int, seed int64) (usage, error) {
	w, err := newWork(n, seed)
	if err != nil {
		return usage{}, err
	}
	view := newMemoryView()
	m, err := openMill(view.count)
	if err != nil {
		return usage{}, err
	}
	u, err := measure(n, func() error { return m.send(w) })
	return u, errors.Join(err, m.close(), w.checkMap(view.counts))
}
