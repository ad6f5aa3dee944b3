package main

import (
	"errors"
	"os"
)

// Two runtimes run in turns: one has 20 times the events of the other behind it, 2 million against 100,000 unless -n is given.

const (
	deeper     = 20
	depthTurns = 3 // for each round
)

var depth = benchmark{
	goals: []goal{atLeast("aggregate-2m-vs-100k", 0.7, 0.9), shown("aggregate-2m-vs-100k-cpu")},
	run: func(e *env) (values []float64, err error) {
		few, err := newFilled(e, e.n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, few.close()) }()
		many, err := newFilled(e, deeper*e.n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, many.close()) }()
		pairs, err := race(e.unhurried(), depthTurns*e.rounds, contender{"many behind it", many.run}, contender{"few behind it", few.run})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, errors.Join(few.check(), many.check())
	},
}

// filled is a runtime with events behind it, and work that is still to be done.
type filled struct {
	app  *app
	dir  string
	work *work
	done int
	step int // commands of a round
}

func newFilled(e *env, n int) (*filled, error) {
	f := &filled{step: e.n / 10}
	w, err := newWork(n+depthTurns*e.rounds*f.step, int64(n))
	if err != nil {
		return nil, err
	}
	if f.dir, err = e.folder(); err != nil {
		return nil, err
	}
	if f.app, err = openApp(f.dir, appConfig()); err != nil {
		return nil, err
	}
	f.work = w
	u, err := measure(n, func() error { return f.do(n) })
	e.say("  filled: %v", u)
	return f, err
}

// do does the next n commands.
func (f *filled) do(n int) error {
	from := f.done
	f.done += n
	return f.app.submit(f.work, from, f.done)
}

func (f *filled) run(int) (usage, error) {
	return measure(f.step, func() error { return f.do(f.step) })
}

// check compares the table with what was done.
func (f *filled) check() error { return f.app.check(f.work.begun(f.done)) }

func (f *filled) close() error { return errors.Join(f.app.close(), os.RemoveAll(f.dir)) }
