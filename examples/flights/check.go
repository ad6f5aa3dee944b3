package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cqrs-server/cqrs"
)

// auditAll decides again what the queue still keeps.
func (p *program) auditAll(ctx context.Context) error {
	progress, end := p.watch("audit", "commands")
	r, err := p.rt.Audit(ctx, cqrs.AuditOptions{Rate: p.rate, Progress: progress})
	end()
	fmt.Fprintf(p.out, "audit: %d commands were decided again, and %d come out otherwise\n", r.Checked, r.Different)
	for _, reason := range slices.Sorted(maps.Keys(r.NotChecked)) {
		fmt.Fprintf(p.out, "  %d were not: %s\n", r.NotChecked[reason], reason)
	}
	return differ(p.out, "audit", r.Different, r.Differences, err)
}

// scrubAll compares everything that the folder holds.
func (p *program) scrubAll(ctx context.Context) error {
	progress, end := p.watch("scrub", "commits")
	r, err := p.rt.Scrub(ctx, cqrs.ScrubOptions{Tables: true, Rate: p.rate, Progress: progress})
	end()
	fmt.Fprintf(p.out, "scrub: %d commits, %d events and %d rows were compared, and %d things differ\n",
		r.Commits, r.Events, r.Rows, r.Different)
	for _, f := range r.Failed {
		fmt.Fprintf(p.out, "  %s\n", f)
	}
	return differ(p.out, "scrub", r.Different, r.Differences, err)
}

// watch shows a bar. It is drawn about once a second, and at the end.
func (p *program) watch(name, unit string) (progress func(done, of uint64), end func()) {
	b := newBar(p.errs)
	b.unit = unit
	return func(done, of uint64) { b.show(cqrs.Progress{Aggregate: name, T: done, Of: of}, true) }, func() { fmt.Fprintln(p.errs) }
}

func differ(out io.Writer, what string, n uint64, first []cqrs.Difference, err error) error {
	for _, d := range first {
		fmt.Fprintln(out, d)
	}
	if n > uint64(len(first)) {
		fmt.Fprintf(out, "and %d more\n", n-uint64(len(first)))
	}
	if err == nil && n > 0 {
		err = fmt.Errorf("%s: %d differences", what, n)
	}
	return err
}
