package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue/kafka"
)

// On Kafka, with one shard and the archive in the process's own files, against what the client library needs for the two hops that a
// command and its event take: produced, consumed, produced, consumed.

const kafkaVariable, dynamoVariable = "CQRS_KAFKA", "CQRS_DYNAMODB"

func needsKafka(*env) string {
	if os.Getenv(kafkaVariable) == "" {
		return "it needs a Kafka, which " + kafkaVariable + " names"
	}
	return ""
}

func brokers() []string { return strings.Split(os.Getenv(kafkaVariable), ",") }

var kafkaTwoHops = benchmark{
	goals: []goal{
		atLeast("kafka-vs-two-hops-rate", 0.30, 0.45),
		atMost("kafka-vs-two-hops-cpu", 3.5, 2.2),
	},
	needs: needsKafka,
	run: func(e *env) ([]float64, error) {
		n := e.n / 2
		pairs, err := race(e, e.rounds, onKafka(e, n), contender{"sarama, two hops", func(int) (usage, error) { return runHops(n) }})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

// onKafka is the library with its queue on Kafka.
func onKafka(e *env, n int) contender {
	return contender{"cqrs on Kafka", func(round int) (u usage, err error) {
		w, err := newWork(n, int64(round))
		if err != nil {
			return usage{}, err
		}
		a, done, err := openOnKafka(e)
		if err != nil {
			return usage{}, err
		}
		u, err = measure(n, func() error {
			return each(n, inFlight, func(i int) error { return a.send(w, i) })
		})
		if err == nil {
			err = a.check(w)
		}
		return u, errors.Join(err, done())
	}}
}

// openOnKafka opens a runtime with topics of its own, and waits until it works.
func openOnKafka(e *env) (a *app, done func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := e.folder()
	if err != nil {
		return nil, nil, err
	}
	q, err := kafka.Open(ctx, brokers(), kafka.Prefix(newTopic("cqrs")+"-"))
	if err != nil {
		return nil, nil, err
	}
	if err = q.CreateTopics(ctx, cqrs.Topics()...); err == nil {
		cfg := appConfig()
		cfg.Queue = q
		a, err = openApp(dir, cfg)
	}
	if err != nil {
		return nil, nil, errors.Join(err, q.Close(), os.RemoveAll(dir))
	}
	for !a.Health()[0].Owner && err == nil {
		err = ctx.Err()
		time.Sleep(10 * time.Millisecond)
	}
	done = func() error { return errors.Join(a.close(), q.Close(), os.RemoveAll(dir)) }
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return a, done, nil
}

var topics atomic.Int64

// newTopic is a name that no topic has.
func newTopic(name string) string {
	return fmt.Sprintf("bench-%s-%x-%d", name, time.Now().UnixNano(), topics.Add(1))
}

// hops is the client library alone.
type hops struct {
	client        sarama.Client
	producer      sarama.AsyncProducer
	consumer      sarama.Consumer
	first, second sarama.PartitionConsumer
	topics        [2]string
	value         [2][]byte // what travels, of the size of a command and of an event
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Net.MaxOpenRequests = 1
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Return.Successes, c.Producer.Return.Errors = false, true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func openHops() (h *hops, err error) {
	h = &hops{topics: [2]string{newTopic("first"), newTopic("second")}}
	h.value = [2][]byte{bytes.Repeat([]byte{'c'}, 200), bytes.Repeat([]byte{'e'}, 291)}
	if h.client, err = sarama.NewClient(brokers(), saramaConfig()); err != nil {
		return nil, err
	}
	if err = createTopics(h.client, h.topics[:]...); err == nil {
		h.producer, err = sarama.NewAsyncProducerFromClient(h.client)
	}
	if err == nil {
		h.consumer, err = sarama.NewConsumerFromClient(h.client)
	}
	if err == nil {
		h.first, err = h.consumer.ConsumePartition(h.topics[0], 0, sarama.OffsetOldest)
	}
	if err == nil {
		h.second, err = h.consumer.ConsumePartition(h.topics[1], 0, sarama.OffsetOldest)
	}
	if err != nil {
		return nil, errors.Join(err, h.client.Close())
	}
	return h, nil
}

// createTopics makes topics with one partition.
func createTopics(client sarama.Client, names ...string) error {
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return client.RefreshMetadata(names...)
}

func (h *hops) close() error {
	return errors.Join(h.first.Close(), h.second.Close(), h.consumer.Close(), h.producer.Close(), h.client.Close())
}

func (h *hops) produce(hop int) {
	h.producer.Input() <- &sarama.ProducerMessage{Topic: h.topics[hop], Value: sarama.ByteEncoder(h.value[hop])}
}

// relay sends an event for each command.
func (h *hops) relay(n int) {
	for range n {
		<-h.first.Messages()
		h.produce(1)
	}
}

// send sends n commands, and waits for their events.
func (h *hops) send(n int) error {
	go h.relay(n)
	room := make(chan struct{}, inFlight)
	go func() {
		for range n {
			room <- struct{}{}
			h.produce(0)
		}
	}()
	for range n {
		select {
		case <-h.second.Messages():
			<-room
		case err := <-h.producer.Errors():
			return err
		}
	}
	return nil
}

func runHops(n int) (usage, error) {
	h, err := openHops()
	if err != nil {
		return usage{}, err
	}
	u, err := measure(n, func() error { return h.send(n) })
	return u, errors.Join(err, h.close())
}
