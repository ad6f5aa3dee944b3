// Package store is the contract between the runtime and the archive of accepted events.
//
// A store keeps every accepted commit with its events, once, for ever. An event is found by its id, a commit by
// its command, events by type and time range, and everything of a shard in log order, from which an aggregate can be built
// anew. Payloads are bytes here.
//
// An implementation is finished when storetest.Run passes on it.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
)

// Store is an archive. All methods may be called from many goroutines at once.
type Store interface {
	// Put keeps records, each once. A record that is already there with the same bytes is left alone. A record whose command
	// or event ids are there with other bytes is not written: the others are, and the error is a
	// *ConflictError. When Put returns nil everything is durable. The records' bytes stay the caller's.
	Put(ctx context.Context, records []Record) error

	// Event finds an event by its id, or returns ErrNotFound.
	Event(ctx context.Context, id uuid.UUID) (Entry, error)

	// Commit finds all events of a command, or returns ErrNotFound. A commit without events is found too.
	Commit(ctx context.Context, command uuid.UUID) (Record, error)

	// Query gives events by type and time, ordered by time (then by shard, t and index), each once.
	// It may lag behind Put where the medium's indexes do; each implementation says by how much.
	Query(ctx context.Context, q Query) iter.Seq2[Entry, error]

	// Log gives the records of a shard from t on, in order, without a gap up to the last one that is there.
	Log(ctx context.Context, shard int, from uint64) iter.Seq2[Record, error]

	// Last is the t up to which Log would go, or 0.
	Last(ctx context.Context, shard int) (uint64, error)

	// Limit is the size in bytes of the largest event payload that Put takes; 0 means no limit.
	Limit() int

	// Close gives back what the store holds. A second Close does nothing.
	Close() error
}

// NewPutter is a store that keeps records that are known to be new at a lower cost.
type NewPutter interface {
	// PutNew is Put for records that the caller knows to be new, because it has read the whole log of their shard and numbered
	// them itself.
	PutNew(ctx context.Context, records []Record) error
}

// Checker is a store that bounds more than payloads.
type Checker interface {
	// Check tells why Put would not take a record, whatever is stored already; nil when it would. The record need not have its t yet.
	Check(r *Record) error
}

// Troubled is a store that makes a request again by itself, for as long as it takes.
type Troubled interface {
	// Trouble is why calls that are under way have not come to their end for a while; nil when all is well.
	Trouble() error
}

// RawLogger is a store that gives its log as bytes, at a lower cost.
type RawLogger interface {
	// RawLog is Log with what Record.Append gave in place of records. The bytes are the caller's; many share a piece of memory.
	RawLog(ctx context.Context, shard int, from uint64) iter.Seq2[Raw, error]
}

// Raw is a record that is not decoded.
type Raw struct {
	T    uint64
	Data []byte
}

// Query chooses events. Its zero value chooses all.
type Query struct {
	Type  string    // "" means every type
	From  time.Time // the first instant that counts; the zero time means from the beginning
	To    time.Time // the first instant that no longer counts; the zero time means no end
	Limit int       // at most so many; 0 means all
}

var (
	// ErrNotFound says that the store holds nothing under that id.
	ErrNotFound = errors.New("store: not found")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store: closed")
)

// ConflictError says that other bytes stand under an id already. What was stored first stays.
type ConflictError struct {
	Command uuid.UUID
	Event   uuid.UUID // the zero uuid when the commit as a whole differs
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("store: command %s (event %s) is stored with other bytes; the first ones stay: "+
		"the code that decided it is not deterministic or has changed", e.Command, e.Event)
}
