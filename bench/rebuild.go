package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Another Config.Version has Open build the tables anew from the stored events. The limit is reading the same events raw.

var rebuild = benchmark{
	goals: []goal{atLeast("rebuild-vs-raw-read", 0.3, 0.6), shown("rebuild-vs-raw-read-cpu")},
	run: func(e *env) ([]float64, error) {
		dir, w, err := filledFolder(e)
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		pairs, err := race(e, e.rounds,
			contender{"rebuild", func(round int) (usage, error) { return runRebuild(dir, w, round) }},
			contender{"raw read", func(round int) (usage, error) { return runRawRead(dir, w, round) }})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

// filledFolder is a data folder with the work done.
func filledFolder(e *env) (dir string, w *work, err error) {
	if w, err = newWork(e.n, 0); err != nil {
		return "", nil, err
	}
	if dir, err = e.folder(); err != nil {
		return "", nil, err
	}
	a, err := openApp(dir, appConfig())
	if err != nil {
		return "", nil, err
	}
	return dir, w, errors.Join(a.submit(w, 0, w.len()), a.close())
}

// runRebuild opens the folder in the version of its round, which is not the one before.
func runRebuild(dir string, w *work, round int) (u usage, err error) {
	config := appConfig()
	config.Version = versionOf(round)
	var a *app
	u, err = measure(w.once(), func() (err error) {
		a, err = openApp(dir, config)
		return err
	})
	if err != nil {
		return u, err
	}
	return u, errors.Join(a.check(w), a.close())
}

func versionOf(round int) string { return "v" + strconv.Itoa(round+1) }

func runRawRead(dir string, w *work, round int) (u usage, err error) {
	config := appConfig()
	config.Version = versionOf(round)
	a, err := openApp(dir, config)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	return measure(w.once(), func() error {
		n := 0
		for r, err := range a.Store().Log(context.Background(), 0, 1) {
			if err != nil {
				return err
			}
			n += len(r.Events)
		}
		if n != w.once() {
			return fmt.Errorf("the store gave %d events of %d", n, w.once())
		}
		return nil
	})
}
