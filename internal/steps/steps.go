// Package steps lets a simulation run the library's own code one step at a time, in one goroutine: what Run and the background
// work of a runtime do in goroutines of their own, a simulation does in the order that it chooses.
package steps

import (
	"context"

	"go.etcd.io/bbolt"
)

// Open opens a *cqrs.Runtime, with a cqrs.Config that has a Queue or a Store, so that nothing runs in the background. Package cqrs sets
// it.
var Open func(dir string, config any, how How) (Process, error)

// How says more of how it is opened. Its zero value will do.
type How struct {
	// Like is an earlier process of the same program: what it found out about the program's types is used again.
	Like Process

	// Commit is called in place of each commit to a shard's file. It must not wait.
	Commit func(shard int, tx *bbolt.Tx) error
}

// Process is an open runtime.
type Process interface {
	// Runtime is the *cqrs.Runtime.
	Runtime() any

	// Follow applies what the log holds behind the shard's position, at most one batch, and tells how many messages that were.
	// It must not be called while an Owner of the shard is at work.
	Follow(ctx context.Context, shard int) (int, error)

	// Listen hears what the feedback queue holds that it has not heard, and settles receipts.
	Listen(ctx context.Context, shard int) (int, error)

	// Own takes up the work of a shard.
	Own(ctx context.Context, shard int) (Owner, error)

	// Reached is the offset up to which the shard's aggregate has read the log.
	Reached(shard int) int64

	// Ended tells whether it is known how the command of a *cqrs.Receipt ended: at a t, or by an error.
	Ended(receipt any) (t uint64, err error, ended bool)

	// Version is that of the shard's aggregate that serves.
	Version(shard int) string

	// CommitBy is How's Commit from now on.
	CommitBy(fn func(shard int, tx *bbolt.Tx) error)

	// Crash ends the process as a kill would: nothing is finished, told or committed. The data folder can then be opened again.
	Crash()

	// Close ends it in order.
	Close() error
}

// Owner works a shard.
type Owner interface {
	// Step runs one batch, and tells how many messages had their effect; 0 means that there was nothing to do.
	Step(ctx context.Context) (int, error)
	// Look finds out whether somebody else has written to the log, as an idle owner does now and then.
	Look(ctx context.Context)
	// End ends the ownership in order.
	End(ctx context.Context) error
}
