// Package dynamo is a store in one DynamoDB table.
//
// Each event is an item of its own, found by its id and readable in the console. Beside them the table holds, for each
// command, an item that says where its commit stands, and, for each shard, the log: items with the envelopes of up to 256
// commits each, in the order of t. An index by type and time serves Query. README.md describes the table.
//
// # What holds
//
// Put and PutNew write what a record consists of in this order: its command, its events, its line in the log. The line
// comes last, so a record that Log or Commit gives is complete, and what it gives has the digest that was written with it.
// An event may be found by Event and Query a moment before its record is in the log. A call that failed half-way leaves
// events without a line; the same call again completes them.
//
// Event, Commit, Log and Last read what Put wrote at once. Query reads an index that follows the table, within a second as
// a rule and without a guarantee.
//
// A request that ends without an answer may have had its effect or not; it is made again, as are requests that are throttled
// or that fail on the server's side, with growing pauses, until the context ends. Until a Store had its first answer it gives
// up after a few seconds, so that a wrong address does not look like a slow server.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Client is what the store needs of a *dynamodb.Client. The store makes its own retries; the client's are switched off for
// its calls.
type Client interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
}

var _ Client = (*dynamodb.Client)(nil)

// Store is a store.Store in a DynamoDB table.
type Store struct {
	client   Client
	table    string
	parallel int
	timeout  time.Duration
	patience time.Duration
	longest  time.Duration // pause between attempts
	segment  string        // see usualSegment

	slots    chan struct{} // one for each request under way
	answered atomic.Bool
	troubles sync.Map // of calls that are tried again: *trouble
	closed   atomic.Bool

	mu      sync.Mutex
	kinds   map[string]bool // event types that the table lists
	buckets map[bucket]bool // buckets that the table lists, a few newest ones
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Troubled = (*Store)(nil)
	_ store.Checker  = (*Store)(nil)
)

// Option changes how a Store works.
type Option func(*Store)

// Parallel is how many requests may be under way at once. Defaults to 10, because the SDK's own HTTP client keeps no more idle
// connections to one host: raise both together.
func Parallel(n int) Option { return func(s *Store) { s.parallel = max(n, 1) } }

// Timeout is how long a request may take before it is made again. It doubles, up to eightfold, as long as requests take
// longer. Defaults to 5 seconds.
func Timeout(d time.Duration) Option { return func(s *Store) { s.timeout = d } }

// FirstAnswer is how long a Store that never had an answer goes on trying. Defaults to 5 seconds.
func FirstAnswer(d time.Duration) Option { return func(s *Store) { s.patience = d } }

// New is a store in the table of that name. It makes no request; the table must be there when it is used (see CreateTable).
// The client stays the caller's.
func New(client Client, table string, options ...Option) *Store {
	s := &Store{
		client: client, table: table,
		parallel: 10, timeout: 5 * time.Second, patience: 5 * time.Second, longest: longestPause, segment: usualSegment,
		kinds: map[string]bool{}, buckets: map[bucket]bool{},
	}
	for _, o := range options {
		o(s)
	}
	s.slots = make(chan struct{}, s.parallel)
	return s
}

// Limit leaves room in an item of 400 KB for what stands beside the payload.
func (s *Store) Limit() int { return 380 << 10 }

// Close makes every method return store.ErrClosed. The client is not touched.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// Event finds an event by its id. It sees what was put before at once.
func (s *Store) Event(ctx context.Context, id uuid.UUID) (store.Entry, error) {
	it, err := s.get(ctx, key(id.String(), 0))
	if err != nil {
		return store.Entry{}, fmt.Errorf("event %s: %w", id, err)
	}
	return entryOf(it)
}

// Commit finds the record of a command, in three or four round trips. It sees what was put before at once.
func (s *Store) Commit(ctx context.Context, command uuid.UUID) (store.Record, error) {
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	r, err := s.commit(ctx, command)
	if err != nil {
		return store.Record{}, fmt.Errorf("command %s: %w", command, err)
	}
	return r, nil
}

func (s *Store) get(ctx context.Context, k item) (item, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	out, err := call(ctx, s, s.client.GetItem, &dynamodb.GetItemInput{TableName: &s.table, Key: k, ConsistentRead: &yes})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, store.ErrNotFound
	}
	return out.Item, nil
}

var yes = true

var errDamaged = errors.New("the table is damaged: restore it from a copy, or rebuild it from the queue")

// TakenError says that another command stands at a record's place in the log. The record was not written. Whoever numbered
// them saw different logs: stop, and compare the shard's log with the queue.
type TakenError struct {
	Shard   int
	T       uint64
	Stored  uuid.UUID
	Offered uuid.UUID
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("store: t %d of shard %d holds command %s; command %s was not written there: "+
		"the log was numbered twice, or the table belongs to another log", e.T, e.Shard, e.Stored, e.Offered)
}
