package main

import (
	"errors"

	"github.com/IBM/sarama"
)

// One command at a time on Kafka, against one message that is produced and consumed.

var kafkaIdle = benchmark{
	goals: []goal{atMost("kafka-idle-p50", 3, 2)},
	needs: needsKafka,
	run: func(e *env) ([]float64, error) {
		ours, raw, err := runKafkaIdle(e, min(e.n/100, 500))
		if err != nil {
			return nil, err
		}
		e.say("  p50 %.2f ms, of a round trip %.2f ms", ours*1e3, raw*1e3)
		return []float64{ours / raw}, nil
	},
}

// runKafkaIdle gives the median seconds of both, taken in turns.
func runKafkaIdle(e *env, n int) (ours, raw float64, err error) {
	w, err := newWork(n, 0)
	if err != nil {
		return 0, 0, err
	}
	trip, err := openTrip()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, trip.close()) }()
	a, done, err := openOnKafka(e)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	var ourTimes, rawTimes []float64
	for i := range n {
		t1, err1 := timed(func() error { return a.send(w, i) })
		t2, err2 := timed(trip.take)
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, err
		}
		ourTimes, rawTimes = append(ourTimes, t1), append(rawTimes, t2)
	}
	return median(ourTimes), median(rawTimes), a.check(w)
}

// trip is a message's way to Kafka and back.
type trip struct {
	*hops
	sync sarama.SyncProducer
}

func openTrip() (*trip, error) {
	h, err := openHops()
	if err != nil {
		return nil, err
	}
	c := saramaConfig()
	c.Producer.Return.Successes = true
	p, err := sarama.NewSyncProducer(brokers(), c)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return &trip{h, p}, nil
}

func (t *trip) take() error {
	_, _, err := t.sync.SendMessage(&sarama.ProducerMessage{Topic: t.topics[0], Value: sarama.ByteEncoder(t.value[0])})
	if err == nil {
		<-t.first.Messages()
	}
	return err
}

func (t *trip) close() error { return errors.Join(t.sync.Close(), t.hops.close()) }
