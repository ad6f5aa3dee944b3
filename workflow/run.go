package workflow

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	pollEvery = 5 * time.Millisecond // for sources that are no Wakers
	minPause  = 10 * time.Millisecond
	maxPause  = 5 * time.Second
)

// Run opens the plan, runs batch after batch, and closes it. It ends with nil when all sources are at their end, and
// with nil when ctx is done and the batch it was in has ended. When a batch returns an error, Run tells OnError, pauses
// (from 10 ms to 5 s, longer each time that nothing came of it) and tries again, for ever. It returns only the errors of
// opening and closing.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.Open(ctx); err != nil {
		return err
	}
	e.loop(ctx)
	return e.Close()
}

func (e *Engine) loop(ctx context.Context) {
	pauses := newPauses()
	for ctx.Err() == nil {
		n, err := e.Step(ctx)
		if n > 0 || err == nil {
			pauses.Reset()
		}
		switch {
		case err == io.EOF:
			return
		case err != nil:
			e.report(ctx, err)
			sleep(ctx, pauses.NextBackOff())
		case n == 0:
			e.wait(ctx)
		}
	}
}

func newPauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = minPause, maxPause
	b.Multiplier, b.RandomizationFactor = 2, 0
	return b
}

// report tells of an error, unless it only says that Run is to end.
func (e *Engine) report(ctx context.Context, err error) {
	ending := ctx.Err() != nil && errors.Is(err, ctx.Err())
	if e.OnError != nil && !ending {
		e.OnError(err)
	}
}

// wait returns when something may have arrived, or ctx is done.
func (e *Engine) wait(ctx context.Context) {
	var tick <-chan time.Time
	if e.polls() {
		timer := time.NewTimer(pollEvery)
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-e.wake:
	case <-tick:
	case <-ctx.Done():
	}
}

// polls says that some source which may still give segments cannot wake the engine.
func (e *Engine) polls() bool {
	for _, in := range e.inputs {
		if _, wakes := in.source.(Waker); !wakes && !in.ended {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
