// Package servers gives the examples their flags for real servers, and connects to those that are named. Without flags an example
// works on local files.
package servers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
)

// Flags are the values of the flags.
type Flags struct {
	Kafka    string // host:port, more of them behind commas
	DynamoDB string // URL of the endpoint, or aws
	Prefix   string // of the topics and of the table
	Create   bool   // make them when they are not there
	Shards   int    // 0: as many as there are

	// Session is how long a process that is silent keeps its shards. 0: the queue's own choice.
	Session time.Duration
}

// Add adds the flags that every example has to a set. prefix is the default of -prefix.
func (f *Flags) Add(flags *flag.FlagSet, prefix string) {
	flags.StringVar(&f.Kafka, "kafka", "", "the queue is Kafka, at these `brokers` (host:port,...); without it, local files")
	flags.StringVar(&f.DynamoDB, "dynamodb", "",
		"the store is DynamoDB, at this `endpoint` (a URL; aws: the service, as AWS_* say); without it, local files")
	flags.StringVar(&f.Prefix, "prefix", prefix, "the `text` before the names of the topics and of the table")
	flags.BoolVar(&f.Create, "create", false, "make the topics and the table when they are not there")
}

// AddShards adds the flag for the number of shards. An example whose commands have no key lives in one.
func (f *Flags) AddShards(flags *flag.FlagSet) {
	flags.IntVar(&f.Shards, "shards", 0, "the `number` of shards; 0: as many as there are, and 1 at first")
}

// Servers are connections to those that were named. Queue and Store are for the fields of the same names in cqrs.Config: nil means local
// files, there as here.
type Servers struct {
	Queue queue.Queue
	Store store.Store
}

// Open connects.
func (f *Flags) Open(ctx context.Context) (s *Servers, err error) {
	s = &Servers{}
	if err = errors.Join(f.openQueue(ctx, s), f.openStore(ctx, s)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close gives the connections back. Call it after the runtime's Close.
func (s *Servers) Close() (err error) {
	if s.Store != nil {
		err = s.Store.Close()
	}
	if s.Queue != nil {
		err = errors.Join(err, s.Queue.Close())
	}
	return err
}

func (f *Flags) openQueue(ctx context.Context, s *Servers) error {
	if f.Kafka == "" {
		return nil
	}
	c := kafka.NewConfig()
	if f.Session > 0 {
		c.Consumer.Group.Session.Timeout = f.Session
	}
	q, err := kafka.Open(ctx, strings.Split(f.Kafka, ","), kafka.Prefix(f.Prefix), kafka.Shards(f.Shards), kafka.Config(c),
		kafka.OnError(func(err error) { slog.Warn("kafka", "error", err) }))
	if err != nil {
		return err
	}
	s.Queue = q
	if f.Create {
		return q.CreateTopics(ctx, cqrs.Topics()...)
	}
	return hint(q.Check(ctx, cqrs.Topics()...))
}

// hint says how what is missing is made.
func hint(err error) error {
	if err != nil {
		return fmt.Errorf("%w\n(-create makes what is not there)", err)
	}
	return nil
}

func (f *Flags) openStore(ctx context.Context, s *Servers) error {
	if f.DynamoDB == "" {
		return nil
	}
	client, err := f.client(ctx)
	if err != nil {
		return fmt.Errorf("DynamoDB's configuration: %w", err)
	}
	d := dynamo.New(client, f.Prefix+"events")
	s.Store = d
	if f.Create {
		return d.CreateTable(ctx)
	}
	_, err = d.Last(ctx, 0)
	return hint(err)
}

// client is configured by the environment, unless an endpoint is named: DynamoDB Local takes any credentials.
func (f *Flags) client(ctx context.Context) (*dynamodb.Client, error) {
	if f.DynamoDB == "aws" {
		cfg, err := config.LoadDefaultConfig(ctx)
		return dynamodb.NewFromConfig(cfg), err
	}
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(f.DynamoDB), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	}), nil
}
