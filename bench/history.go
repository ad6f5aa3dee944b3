package main

import (
	"os"

	"github.com/cqrs-server/cqrs/internal/mutant"
)

// What it costs to keep all versions of all rows: against the library with that left out, which can not read the past, on a command's whole way and on
// the folds alone, which build the tables from the store.

var historyCost = benchmark{
	goals: []goal{atMost("history-cpu", 1.5, 1.2), shown("history-folds-cpu"), shown("history-disk")},
	run: func(e *env) ([]float64, error) {
		all, none := embedded(e, e.n), embedded(e, e.n)
		pairs, err := race(e, e.rounds, all, without(none))
		if err != nil {
			return nil, err
		}
		folds, err := raceFolds(e)
		if err != nil {
			return nil, err
		}
		disk := ratio(pairs, func(u usage) float64 { return float64(u.disk) })
		return []float64{ratio(pairs, usage.cpuEach), ratio(folds, usage.cpuEach), disk}, nil
	},
}

// without is a contender that keeps no history.
func without(c contender) contender {
	return contender{c.name + ", no history", func(round int) (usage, error) {
		defer mutant.Wake("history not kept")()
		return c.run(round)
	}}
}

func raceFolds(e *env) ([]pair, error) {
	dir, w, err := filledFolder(e)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := contender{"folds", func(round int) (usage, error) { return runRebuild(dir, w, 2*round) }}
	return race(e, e.rounds, build, without(contender{"folds", func(round int) (usage, error) { return runRebuild(dir, w, 2*round+1) }}))
}
