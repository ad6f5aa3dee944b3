package cqrs

import (
	"errors"

	"github.com/cqrs-server/cqrs/workflow"
)

// The names of the default workflow's tasks.
const (
	commandIn       = "command/in-queue"
	commandCoerce   = "command/coerce"
	commandProcess  = "command/process"
	eventOut        = "event/out-queue"
	eventIn         = "event/in-queue"
	eventStore      = "event/store"
	eventAggregator = "event/aggregator"
	commandFeedback = "command/feedback"
	cqrsError       = "cqrs/error"
)

// DefaultPlan is the workflow that a runtime executes unless Config.Plan is another: a value to extend, or to take from.
// The tasks of these names whose Fn, In and Out are left open are filled in by Open; a program adds edges and
// catalog entries of its own, or fills one in itself. From command/process on the segments are *Commit; what fails is a *Error.
//
// Receipt.Wait hears of refusals through command/feedback, and of defects through cqrs/error: a program that fills these in itself tells its
// senders itself.
//
// An output of the program's own is flushed after the batch's commits are durable, and again after a crash: it may see a
// commit twice, and none is left out.
func DefaultPlan() workflow.Plan {
	return workflow.Plan{
		Workflow: workflow.Workflow{
			{From: commandIn, To: commandCoerce},
			{From: commandCoerce, To: commandProcess},
			{From: commandProcess, To: eventOut},
			{From: eventIn, To: eventStore},
			{From: eventIn, To: eventAggregator},
			{From: eventAggregator, To: commandFeedback},
		},
		Catalog: workflow.Catalog{
			commandIn:       {Kind: workflow.Input},
			commandCoerce:   {Kind: workflow.Function},
			commandProcess:  {Kind: workflow.Function},
			eventOut:        {Kind: workflow.Output},
			eventIn:         {Kind: workflow.Input, Link: eventOut},
			eventStore:      {Kind: workflow.Output},
			eventAggregator: {Kind: workflow.Function},
			commandFeedback: {Kind: workflow.Output},
			cqrsError:       {Kind: workflow.Output},
		},
		Flow: []workflow.Condition{
			{From: workflow.All, To: []string{commandFeedback}, When: hasLevel(User), ShortCircuit: true,
				Transform: toError, Label: "user error"},
			{From: workflow.All, To: []string{cqrsError}, When: workflow.IsError, ShortCircuit: true,
				Transform: toError, Label: "error"},
			{From: workflow.All, To: []string{commandFeedback}, When: isRepeat, ShortCircuit: true, Label: "repeated"},
		},
		Samples: map[string]workflow.Segment{
			"an error of level dev":  &Error{Level: Dev},
			"an error of level user": &Error{Level: User},
		},
	}
}

// hasLevel holds for errors of that level.
func hasLevel(level Level) workflow.Predicate {
	return func(s workflow.Segment) bool {
		switch e := s.(type) {
		case *Error:
			return e.Level == level
		case *workflow.Failure:
			inner, ok := errors.AsType[*Error](e.Err)
			return ok && inner != nil && inner.Level == level
		}
		return false
	}
}

func isRepeat(s workflow.Segment) bool {
	c, ok := s.(*Commit)
	return ok && c.Repeat
}

var taskTags = map[string]string{
	commandIn: tagEnvelope, commandCoerce: tagCoerce, commandProcess: tagProcess,
	eventIn: tagAggregate, eventAggregator: tagAggregate, eventStore: tagStore,
}

// toError makes an *Error of what a task returned, or of its panic.
func toError(s workflow.Segment) workflow.Segment {
	f, ok := s.(*workflow.Failure)
	if !ok {
		return s
	}
	tag, ok := taskTags[f.Task]
	if !ok {
		tag = tagWorkflow
	}
	e := *asError(f.Err, tag)
	switch s := f.Segment.(type) {
	case *command:
		e.Command, e.origin = s.ID, s
	case *Commit:
		e.Command, e.origin = s.Command, s.command
	}
	return &e
}
