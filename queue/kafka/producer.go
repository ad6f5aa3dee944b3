package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// producer sends batches to one partition, one after the other. Batches are numbered under an id from the broker, which
// so knows one that it has when it is sent again. After a batch whose fate stayed unknown, the numbering begins anew under
// another id, because the broker would otherwise take the next batch for it.
type producer struct {
	writer *writer
	link   *link
	id     *sarama.InitProducerIDResponse // nil: none yet
	next   int32                          // number of the next record
	topic  sarama.Uuid                    // id of the topic, for which end holds
	end    int64                          // offset behind the last batch that was added
}

// send adds a batch and gives the offset of its first message. It tries again until the time for an answer is over.
func (d *producer) send(b batch) (first int64, err error) {
	ctx, cancel := d.writer.queue.within(context.Background())
	defer cancel()
	codec := d.writer.queue.config.Producer.Compression
	var lost, silent bool // whether an attempt before may have added it, and whether one got no answer
	for wait := newBackoff(); ; {
		first, fate := d.attempt(ctx, b, codec)
		switch fate.verdict {
		case added:
			d.next += int32(len(b.records))
			return first, d.advance(ctx, first, len(b.records))
		case tooLarge:
			if codec != sarama.CompressionNone { // what does not compress has grown by it
				codec = sarama.CompressionNone
				continue
			}
			d.writer.queue.forget(d.writer.topic)
			return 0, d.giveUp(lost, fate.err)
		case refused:
			return 0, d.giveUp(lost, fate.err)
		case forgotten:
			if silent { // it may yet arrive
				return 0, d.giveUp(lost, fate.err)
			}
			d.id, lost = nil, false // the broker would know what an attempt before has added
		case unclear:
			lost = true
		case unanswered:
			lost, silent = true, true
		}
		if stopped := wait.next(ctx); stopped != nil {
			return 0, d.giveUp(lost, fmt.Errorf("%w (%w)", stopped, fate.err))
		}
	}
}

// advance checks that the log goes on where it was. What was added is where it should not be, if not.
func (d *producer) advance(ctx context.Context, first int64, n int) error {
	before := d.end
	d.end = first + int64(n)
	if first >= before {
		return nil
	}
	w := d.writer
	topic, other := w.queue.same(ctx, w.topic)
	if other == nil && topic != d.topic { // this Queue has made it again
		d.topic = topic
		return nil
	}
	err := fmt.Errorf("it was added at offset %d, and the offsets below %d had been given before: the topic was deleted and made again, or has lost"+
		" its end", first, before)
	if other != nil {
		d.disconnect(ctx) // so that the next batch is not sent
		err = fmt.Errorf("%w (%w)", other, err)
	}
	return fmt.Errorf("%w: %w", queue.ErrUnknown, err)
}

// giveUp ends the attempts.
func (d *producer) giveUp(lost bool, err error) error {
	if lost {
		d.id = nil
		return fmt.Errorf("%w: %w", queue.ErrUnknown, err)
	}
	return err
}

// attempt sends a batch once.
func (d *producer) attempt(ctx context.Context, b batch, codec sarama.CompressionCodec) (int64, fate) {
	if err := d.prepare(ctx, len(b.records)); err != nil {
		d.disconnect(ctx)
		return 0, fateBeforeSending(err)
	}
	var answer *sarama.ProduceResponse
	err := d.link.use(ctx, func(broker *sarama.Broker) (err error) {
		answer, err = broker.Produce(d.request(b, codec))
		return err
	})
	if err != nil {
		d.disconnect(ctx)
		return 0, fateOfSending(err)
	}
	w := d.writer
	block := answer.GetBlock(w.queue.prefix+w.topic, int32(w.shard))
	if block == nil {
		return 0, fate{unanswered, sarama.ErrIncompleteResponse}
	}
	f := fateOf(block.Err)
	if f.verdict == unclear || f.verdict == again {
		d.disconnect(ctx) // the leader may be another by now
	}
	return block.Offset, f
}

// prepare sees to it that there is a connection to the leader, and room in the numbering for n records.
func (d *producer) prepare(ctx context.Context, n int) (err error) {
	q := d.writer.queue
	if d.link == nil {
		if d.link, err = q.connectTo(ctx, d.writer.partition); err != nil {
			return err
		}
		if d.link.topic != d.topic {
			d.topic, d.end = d.link.topic, 0
		}
	}
	if d.id != nil && d.next <= math.MaxInt32-int32(n) {
		return nil
	}
	return d.link.use(ctx, func(broker *sarama.Broker) error {
		answer, err := broker.InitProducerID(&sarama.InitProducerIDRequest{Version: 3, ProducerID: -1, ProducerEpoch: -1})
		if err == nil && answer.Err != sarama.ErrNoError {
			err = answer.Err
		}
		if err != nil {
			return fmt.Errorf("get a producer id: %w", err)
		}
		d.id, d.next = answer, 0
		return nil
	})
}

// disconnect has the next attempt ask for the leader.
func (d *producer) disconnect(ctx context.Context) {
	d.link.close()
	d.link = nil
	d.writer.queue.refresh(ctx, d.writer.partition)
}

func (d *producer) request(b batch, codec sarama.CompressionCodec) *sarama.ProduceRequest {
	config := d.writer.queue.config
	r := &sarama.ProduceRequest{
		Version:      produceVersion(config),
		RequiredAcks: sarama.WaitForAll,
		Timeout:      int32(min(config.Producer.Timeout, d.writer.queue.timeout) / time.Millisecond),
	}
	base, latest := b.times[0], b.times[0]
	for i, record := range b.records {
		record.OffsetDelta = int64(i)
		record.TimestampDelta = time.Duration(b.times[i]-base) * time.Millisecond
		latest = max(latest, b.times[i])
	}
	r.AddBatch(d.writer.queue.prefix+d.writer.topic, int32(d.writer.shard), &sarama.RecordBatch{
		Version: 2, Codec: codec, CompressionLevel: config.Producer.CompressionLevel,
		FirstTimestamp: time.UnixMilli(base), MaxTimestamp: time.UnixMilli(latest),
		LastOffsetDelta: int32(len(b.records) - 1), Records: b.records,
		ProducerID: d.id.ProducerID, ProducerEpoch: d.id.ProducerEpoch, FirstSequence: d.next,
	})
	return r
}

func produceVersion(c *sarama.Config) int16 {
	if c.Version.IsAtLeast(sarama.V3_7_0_0) {
		return 10
	}
	return 9
}

// verdict is what is known of a batch after an attempt.
type verdict int

const (
	added      verdict = iota
	again              // it was not added, and may be when it is sent again
	unclear            // it may have been added; sending it again will tell
	unanswered         // the same, and it may yet be added
	forgotten          // it was not added, because the broker does not know the numbering any more
	tooLarge           // it was not added
	refused            // it was not added, and will not be
)

type fate struct {
	verdict verdict
	err     error
}

// fateBeforeSending is that of a batch that was not sent.
func fateBeforeSending(err error) fate {
	if isFinal(err) {
		return fate{refused, err}
	}
	return fate{again, err}
}

// fateOfSending is that of a batch without an answer.
func fateOfSending(err error) fate {
	var encoding sarama.PacketEncodingError
	if errors.As(err, &encoding) || errors.Is(err, sarama.ErrUnsupportedVersion) {
		return fate{refused, err} // the client did not send it
	}
	return fate{unanswered, err}
}

// fateOf is that of a batch with an answer. What is not listed may come after the broker has written it: also that it does
// not lead the partition (any more).
func fateOf(answer sarama.KError) fate {
	switch answer {
	case sarama.ErrNoError:
		return fate{added, nil}
	case sarama.ErrNotEnoughReplicas, sarama.ErrInvalidMessage, sarama.ErrThrottlingQuotaExceeded, sarama.ErrUnknownTopicOrPartition:
		return fate{again, answer}
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerEpoch:
		return fate{forgotten, answer}
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return fate{tooLarge, fmt.Errorf("the topic's max.message.bytes was lowered: send it again, so that its size is checked anew: %w", answer)}
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, sarama.ErrInvalidTopic, sarama.ErrInvalidTimestamp,
		sarama.ErrInvalidRecord, sarama.ErrUnsupportedForMessageFormat, sarama.ErrUnsupportedCompressionType, sarama.ErrPolicyViolation,
		sarama.ErrUnsupportedVersion:
		return fate{refused, answer}
	}
	return fate{unclear, answer}
}
