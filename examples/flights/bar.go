package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cqrs-server/cqrs"
)

// bar shows how far an aggregate has been built, in one line that is written over. It is silent until wait is called, so that
// it does not get in the way of other output.
type bar struct {
	out   io.Writer
	start time.Time
	unit  string

	mu    sync.Mutex
	shown bool
	first uint64 // the t that was there before
}

func newBar(out io.Writer) *bar { return &bar{out: out, start: time.Now(), unit: "commits"} }

// hear is for Config.Progress.
func (b *bar) hear(p cqrs.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		b.draw(p)
	}
}

// begins notes where the aggregate was when it was opened.
func (b *bar) begins(side *cqrs.ReadSide) { b.first = side.View().T() }

// wait shows the bar until the aggregate has come to t.
func (b *bar) wait(ctx context.Context, name string, side *cqrs.ReadSide, t uint64) error {
	b.show(cqrs.Progress{Aggregate: name, T: min(side.View().T(), t), Of: t}, true)
	_, err := side.AtLeast(ctx, t)
	last := cqrs.Progress{Aggregate: name, T: min(side.View().T(), t), Of: t}
	last.Rate = float64(last.T-min(b.first, last.T)) / max(time.Since(b.start).Seconds(), 1e-9)
	b.show(last, false)
	fmt.Fprintln(b.out)
	return err
}

// show draws, and says whether progress that is heard from now on is shown.
func (b *bar) show(p cqrs.Progress, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shown = more
	b.draw(p)
}

const barWidth = 30

func (b *bar) draw(p cqrs.Progress) {
	done := 1.0
	if p.Of > 0 {
		done = min(float64(p.T)/float64(p.Of), 1)
	}
	full := int(done * barWidth)
	line := fmt.Sprintf("%s [%s%s] %3.0f%%  %d of %d %s", p.Aggregate,
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100, p.T, p.Of, b.unit)
	if p.Rate > 0 {
		line += fmt.Sprintf(", %.0f a second", p.Rate)
	}
	fmt.Fprintf(b.out, "\r%-100s", line)
}
