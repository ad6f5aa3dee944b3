// Package workflow runs a plan that is data: which task feeds which, what each task is, and on which conditions an edge is
// taken. The nouns are Onyx's: a segment is what flows, a workflow is a list of edges, a catalog says what each
// name is, flow conditions choose the edges. The engine knows nothing of commands and events.
//
// A plan runs in batches. Within a batch each segment walks the graph depth-first, by plain calls in one goroutine; what
// reaches an output is gathered. At the end of the batch the outputs flush in workflow order, and then the inputs are told
// how far they have come.
package workflow

import "context"

// Segment is what flows from task to task. A segment that is an error is routed by conditions like any other.
type Segment = any

// Edge says that what From gives goes on to To.
type Edge struct{ From, To string }

// Workflow is the graph. It has no cycle; outputs may have successors, which receive what the output received.
// The workflow's order is the topological order of the graph, a link counting as an edge; where the graph leaves it
// open, the task that is named first comes first.
type Workflow []Edge

// Catalog says what each name in a workflow is.
type Catalog map[string]Task

// Params are handed to a task's function at each call.
type Params map[string]any

// Kind tells what a task does.
type Kind uint8

// The kinds of task.
const (
	Input    Kind = iota + 1 // takes segments from a Source
	Function                 // makes none, one or many segments of one
	Output                   // gathers segments for a Sink
)

// Fn is a task's function. An error it returns, or a panic, becomes a *Failure segment, which goes where the conditions send it, unless
// Hooks.Retry says that the segment is to be tried again. Segments returned beside an error are dropped.
// The engine has walked all that an Fn returned before it calls the same Fn again, so the slice may be used again.
type Fn func(ctx context.Context, p Params, s Segment) ([]Segment, error)

// Task is an entry of a catalog.
type Task struct {
	Kind   Kind
	Medium string // what it stands on ("bolt", "kafka", "memory", ...): for people and for the drawing
	Batch  int    // the most segments that one batch takes from this input. Defaults to 1000
	Params Params
	Fn     Fn // of a Function; of an Input it is optional and is applied to each segment that enters there
	In     Source
	Out    Sink

	// Link, of an Input, names the output that writes to the same queue: what that output gathers also goes straight on to this
	// input's Fn and successors, in the same batch. An input with a Link and with In is polled as well.
	Link string

	// After is called in every batch at this task's place in the order of flushes.
	After func(ctx context.Context) error

	Open  func(ctx context.Context) error // called once, before the first batch
	Close func() error                    // called once, after the last batch, when Open succeeded
}

// Source is where an input takes its segments from.
type Source interface {
	// Poll gives the segments that are there, in order, at most max, and never waits. Each Poll goes on where the
	// one before ended; after Rewind it starts again behind the last acknowledged segment. io.EOF (with or
	// without segments) says that no more will ever come.
	// A source is not polled after io.EOF, unless it was rewound. The slice must hold until the next Ack or Rewind.
	Poll(ctx context.Context, max int) ([]Segment, error)
	// Ack says that the first n segments of the last Poll have had their effect. It is called for an empty Poll too
	// when the batch was committed.
	Ack(ctx context.Context, n int) error
	// Rewind forgets the segments that were polled and not acknowledged.
	Rewind()
}

// Sink is where an output's segments go.
type Sink interface {
	// Flush is called once in every batch, with the gathered segments in order (there may be none). The slice is the
	// engine's, which uses it again. A batch that is rolled back after this Flush comes again.
	Flush(ctx context.Context, segments []Segment) error
}

// Preparer is a Sink that takes part in a transaction: Prepare is called on all outputs, in workflow order, before any Flush.
type Preparer interface {
	Prepare(ctx context.Context, segments []Segment) error
}

// AckPreparer is a Source that takes part in a transaction: PrepareAck is called before any Flush, with what
// Ack will be called with after all of them.
type AckPreparer interface {
	PrepareAck(ctx context.Context, n int) error
}

// Waker is a Source that tells when something may have arrived. Run polls other sources every few milliseconds.
type Waker interface {
	// Wake is called once with a function that the source is to call (it never waits).
	Wake(func())
}

// All, as a condition's From or as its only To, stands for every task (for To: every successor by the workflow).
const All = "*"

// Predicate chooses segments. It changes nothing.
type Predicate func(Segment) bool

// Condition is a flow condition: when an edge is taken.
//
// For a segment that leaves a task, the short-circuit conditions from that task are asked first, in order: the first that holds
// sends the segment to its To and nowhere else, whether or not an edge leads there. Otherwise every edge is taken whose
// conditions all hold; an edge that no condition names is always taken, except by a *Failure at the task that
// failed: it takes only what a condition gives it. All conditions are asked before the segment goes on anywhere.
// Nothing leaves an output that has no edge and no short-circuit condition of its own. A condition from a task by
// name that is not short-circuit needs the edges that it names.
//
// A condition with From All may send to a task that no edge leads to. It sends nothing from the tasks in its To,
// nor from those that they feed: what goes wrong behind the dead letters needs a condition of its own.
type Condition struct {
	From         string
	To           []string // {All}: every successor of From; empty: nowhere
	When         Predicate
	ShortCircuit bool
	Transform    func(Segment) Segment // applied on the way to To; only with ShortCircuit
	Label        string                // for the drawing
}

// Plan is everything that the engine runs.
type Plan struct {
	Workflow Workflow
	Catalog  Catalog
	Flow     []Condition

	// Samples are segments, by a name for error messages, that must find a way out of every function and input: Validate walks
	// them. Use it for the levels of errors.
	Samples map[string]Segment
}

// Hooks let a program put a transaction around the batches. Each may be nil. With Begin, a batch in which nothing
// was polled is flushed and committed too; without it, such a batch does nothing.
type Hooks struct {
	Begin    func(ctx context.Context) error // before the first Poll of a batch
	Mark     func()                          // before each polled segment is walked
	Undo     func()                          // back to the last Mark: the segment is to be tried again later; what came before goes on to Commit
	Commit   func(ctx context.Context) error // after all flushes, before the Acks
	Rollback func()                          // the whole batch is undone; also called when Begin or Commit failed
	Retry    func(error) bool                // is this error one that trying again may heal?
}
