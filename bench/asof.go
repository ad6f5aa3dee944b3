package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cqrs-server/cqrs"
)

// Every second command is of one user, so that the row gets versions among those of other rows.

var asOfDeep = benchmark{
	goals: []goal{atMost("asof-deep", 8, 3)},
	run: func(e *env) ([]float64, error) {
		versions := min(e.n/10, 10_000)
		deep, err := runAsOf(e, versions)
		return []float64{deep}, err
	},
}

// Many short turns, so that what else the machine does falls on both and the median passes over it.
const (
	asOfReads = 20
	asOfTurns = 300
)

func runAsOf(e *env, versions int) (worst float64, err error) {
	w, err := newWork(2*versions, 0)
	if err != nil {
		return 0, err
	}
	w.favour(0, 2)
	dir, err := e.folder()
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	a, err := openApp(dir, appConfig())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.submit(w, 0, w.len()); err != nil {
		return 0, err
	}
	if err := a.check(w); err != nil {
		return 0, err
	}
	return worstDepth(e, a)
}

// worstDepth compares reads at several depths with those of the newest version.
func worstDepth(e *env, a *app) (worst float64, err error) {
	t := a.View().T()
	for _, percent := range []uint64{1, 10, 50, 90, 99} {
		var now, then []float64
		for range asOfTurns {
			newest, err1 := readTimes(a.View())
			old, err2 := readTimes(a.AsOf(t * percent / 100))
			if err := errors.Join(err1, err2); err != nil {
				return 0, err
			}
			now, then = append(now, newest), append(then, old)
		}
		e.say("  as of %2d%% of t: %.2f us, now: %.2f us", percent, median(then)*1e6, median(now)*1e6)
		worst = max(worst, median(then)/median(now))
	}
	return worst, nil
}

// readTimes gives the seconds that a read of the row takes.
func readTimes(v cqrs.View) (float64, error) {
	seconds, err := timed(func() error {
		for range asOfReads {
			row, err := viewsOf.Get(v, userName(0))
			if err != nil {
				return err
			}
			if row.Count == 0 {
				return fmt.Errorf("%s has no views as of t %d", row.User, v.T())
			}
		}
		return nil
	})
	return seconds / asOfReads, err
}
