package sim

import (
	"context"
	"errors"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
)

// Each process has an output of the program's own, behind the store: what owners flush there is seen outside.

type output struct{ p *proc }

var errOutput = errors.New("sim: the output does not take it")

// seen is a commit that an output was given.
type seen struct {
	t       uint64
	command uuid.UUID
}

func (p *proc) plan() *workflow.Plan {
	plan := cqrs.DefaultPlan()
	plan.Workflow = append(plan.Workflow, workflow.Edge{From: "event/store", To: "output"})
	plan.Catalog["output"] = workflow.Task{Kind: workflow.Output, Out: output{p}}
	return &plan
}

// Flush sees the commits.
func (o output) Flush(_ context.Context, segs []workflow.Segment) error {
	if len(segs) == 0 {
		return nil
	}
	w := o.p.w
	w.before("output")
	if w.happens(outputFails) {
		return errOutput
	}
	for _, s := range segs {
		c := s.(*cqrs.Commit)
		w.seen[c.Shard] = append(w.seen[c.Shard], seen{c.T, c.Command})
	}
	w.after("output")
	return nil
}

// checkOutput is invariant 15 for outputs outside the file: they have seen each commit, the first time in the order of the log, and nothing else.
func (l *ledger) checkOutput() {
	last := uint64(0)
	for _, s := range l.w.seen[l.shard] {
		switch {
		case s.t == 0 || s.t > uint64(len(l.accepted)) || l.accepted[s.t-1].Command != s.command:
			l.w.fault("7: an output was given command %s as t %d of shard %d, which the log does not have", s.command, s.t, l.shard)
			return
		case s.t > last+1:
			l.w.fault("15: an output was given t %d of shard %d behind t %d", s.t, l.shard, last)
			return
		case s.t <= last:
			l.w.count("an output saw a commit again")
		}
		last = max(last, s.t)
	}
	if last < uint64(len(l.accepted)) {
		l.w.fault("15: outputs have seen t %d of shard %d, and the log ends at t %d", last, l.shard, len(l.accepted))
	}
}
