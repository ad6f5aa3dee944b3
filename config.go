package cqrs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
)

// Config says what a runtime knows and how it works. Its zero value works, and knows no commands.
type Config struct {
	// Commands holds one value of each command type, such as Register{}. A command arrives at ProcessCommand as
	// the same type, a pointer if the value is one.
	Commands []Command
	// Events holds one value of each event type. An event arrives at AggregateEvent as the same type. Events of types that are not named
	// here are passed over, for good: where processes share the work, all must know a new type before one of them makes such an event.
	Events []Event
	// Aggregator folds the events into Tables. Defaults to one that ignores them.
	Aggregator Aggregator
	// Tables names the tables that the Aggregator writes.
	Tables []AnyTable
	// Version is the version of Aggregator and Tables. When it is not the one that the data folder was left with, Open builds
	// the tables anew from the stored events, before it returns; stopped, it goes on where it was. To serve meanwhile, see Next. Once
	// a folder has a version, Open refuses an empty one, because it was more likely forgotten than meant. Defaults to none.
	Version string
	// Next is the version that is to take the place of Version. It is built from the stored events in small steps, while Version serves
	// and commands are decided on it: while Run runs, and with a Queue or a Store of its own from Open on. Stopped, it goes on where it
	// was. When it has caught up it takes over between two batches, in one step; each shard does so by itself. Views that were taken before
	// go on to read the old version, until the runtime is closed. From then on the folder has Next's version: the same program
	// goes on with it, and the next program names it as Version, and Next no more.
	//
	// Each version has tables of its own. The same *Table may be in both; one of which rows, keys or indexes change is another *Table,
	// which may have the same name. To read a table that the version which serves does not have is an error, and a command that does
	// so waits. A folder that has neither version, or is new, gets Next at once, by Open. Next's Name is empty. Defaults to none.
	Next *Aggregate
	// KeepHistory is how many t of the past can be read as of. Older versions of rows are dropped, in small steps beside the work.
	// Defaults to 0: all.
	KeepHistory uint64
	// KeepFor is how old, by the time of the newest command, a value may be that can be read as of. With both, the
	// narrower bound holds. Defaults to 0: for ever.
	KeepFor time.Duration
	// Aggregates are further read sides, which commands do not read.
	Aggregates []Aggregate
	// Progress hears of aggregates that are being built, about once a second: one call at a time.
	Progress func(Progress)

	// Queue carries commands, log, feedback and dead letters between processes, such as Kafka (package queue/kafka). It stays the
	// caller's: close it after the runtime. Its topics are those that Topics names, each with a partition for each shard. Defaults to
	// local files.
	Queue queue.Queue
	// Store is the archive of accepted events, such as DynamoDB (package store/dynamo). It stays the caller's. Defaults to local
	// files: with a Queue, each process then has an archive of its own.
	Store store.Store
	// Role is what this process does. Defaults to Worker.
	Role Role
	// Shards is the number of worlds, each with its own order, aggregate and t; a command's key chooses one. It is fixed when
	// the data folder, or the Queue's topics, are made. Defaults to 1, or to the number of partitions of the Queue's topics.
	Shards int
	// Consistency holds for command types that do not choose their own. Defaults to Serializable.
	Consistency Consistency
	// Plan is the workflow. Defaults to DefaultPlan().
	Plan *workflow.Plan

	// Code is the version of the program's code, kept with each command and commit. Defaults to the revision that the Go
	// tool recorded when it built the program, or "NA".
	Code string
	// Batch is the most commands that are decided in one transaction. Defaults to 1000.
	Batch int
	// MaxCommand is the largest payload of a command, in bytes. Defaults to 1 MiB, or a little less than what the Queue takes.
	MaxCommand int
	// MaxInFlight is how many receipts the runtime follows in memory at a time; others find their outcome in the files, which is
	// slower. Defaults to 65536.
	MaxInFlight int
	// Retention is how long messages of the command and feedback queues are kept after they were handled. Defaults to
	// 7 days; a negative value keeps them for ever.
	Retention time.Duration
	// MaxRetries is how often a command whose decision returns Retry is tried again before it goes to the dead letters. Defaults to 0: until
	// it passes.
	MaxRetries int
	// LockTimeout is how long Open waits for another process to let go of the data folder. Defaults to 1 second.
	LockTimeout time.Duration

	// Now is the clock. It gives commands their time, and decides nothing else. Defaults to time.Now.
	Now func() time.Time
	// NewID makes command ids. Defaults to uuid.NewV7. Ids that grow with time keep the files fast.
	NewID func() (uuid.UUID, error)
	// Log hears of what goes wrong and is tried again. Defaults to slog.Default().
	Log *slog.Logger
	// NoSync leaves out fsync: a crash of the machine may then lose or damage everything. For tests.
	NoSync bool
}

// Role is what a process does of the work on a Queue that several processes share.
type Role uint8

const (
	// Worker sends, reads, and does the work of the shards that it is given, while Run runs.
	Worker Role = iota
	// Replica sends and reads: it follows the log, so that its views are its own.
	Replica
	// Sender sends and waits, and has no data folder. It can't read. Its commands have no basis of their own, unless WithBasis gives
	// one.
	Sender
)

// Topics are the names of the topics that Config.Queue must have.
func Topics() []string { return []string{topicCommands, topicEvents, topicFeedback, topicDead} }

func (c Config) withDefaults() Config {
	if c.Queue == nil {
		setDefault(&c.Shards, 1)
	} else {
		setDefault(&c.MaxCommand, min(1<<20, c.Queue.Limit()-commandRoom))
	}
	setDefault(&c.Batch, 1000)
	setDefault(&c.MaxCommand, 1<<20)
	setDefault(&c.MaxInFlight, 1<<16)
	setDefault(&c.Retention, 7*24*time.Hour)
	setDefault(&c.LockTimeout, time.Second)
	setDefault(&c.Code, buildRevision())
	if c.Aggregator == nil {
		c.Aggregator = ignore{}
	}
	if c.Plan == nil {
		c.Plan = new(DefaultPlan())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = uuid.NewV7
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if report := c.Progress; report != nil {
		var one sync.Mutex
		c.Progress = func(p Progress) {
			one.Lock()
			defer one.Unlock()
			report(p)
		}
	}
	return c
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

type ignore struct{}

func (ignore) AggregateEvent(context.Context, *Tx, Event) error { return nil }

func (c *Config) check() (err error) {
	fault := func(bad bool, format string, args ...any) {
		if bad {
			err = errors.Join(err, fmt.Errorf(format, args...))
		}
	}
	fault(c.Shards < 0 || c.Shards > 4096, "Shards is %d, and must be 1 to 4096", c.Shards)
	fault(c.Batch < 0, "Batch is %d, and must not be negative", c.Batch)
	fault(c.MaxCommand < 0 || c.MaxCommand > 8<<20, "MaxCommand is %d, and must be 1 to %d", c.MaxCommand, 8<<20)
	fault(c.MaxInFlight < 0, "MaxInFlight is %d, and must not be negative", c.MaxInFlight)
	fault(c.MaxRetries < 0, "MaxRetries is %d, and must not be negative", c.MaxRetries)
	fault(c.KeepFor < 0, "KeepFor is %v, and must not be negative", c.KeepFor) // it would keep nothing, where Retention keeps all
	fault(c.Role > Sender, "Role is %d, and there is no such", c.Role)
	fault(c.Role != Worker && c.Queue == nil, "Role is for processes that share a Queue, and Queue is nil")
	fault(c.Queue != nil && c.MaxCommand > c.Queue.Limit()-commandRoom, "MaxCommand is %d, and the Queue takes %d",
		c.MaxCommand, limitOf(c.Queue)-commandRoom)
	fault(c.Consistency > Unchanged, "Consistency is %d, and there is no such", c.Consistency)
	fault(checkName("text", c.Code, maxCode) != nil, "Code: %v", checkName("text", c.Code, maxCode))
	fault(!plainName.MatchString(c.Version), "Version is %q, and must be letters, digits, - and _", c.Version)
	return errors.Join(err, checkTables(c.Tables), c.checkNext(), checkAggregates(c.Aggregates))
}

// commandRoom is what a command's envelope takes of the queue's limit, at most.
const commandRoom = 24 << 10

func limitOf(q queue.Queue) int {
	if q == nil {
		return 0
	}
	return q.Limit()
}

func checkTables(tables []AnyTable) (err error) {
	seen := map[string]bool{}
	for i, t := range tables {
		if v := reflect.ValueOf(t); t == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			err = errors.Join(err, fmt.Errorf("Tables[%d] is nil", i))
			continue
		}
		for _, core := range append([]*tableCore{t.core()}, t.indexCores()...) {
			err = errors.Join(err, core.check(seen))
		}
	}
	return err
}

func (t *tableCore) check(seen map[string]bool) error {
	twice := seen[t.name]
	seen[t.name] = true
	switch {
	case t.err != nil:
		return fmt.Errorf("table %s: %w", t.name, t.err)
	case checkTypeName(t.name) != nil:
		return fmt.Errorf("table %q: %w", t.name, checkTypeName(t.name))
	case twice:
		return fmt.Errorf("table %s is named twice", t.name)
	}
	return nil
}
