package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// env is what benchmarks are run in.
type env struct {
	options
	root     string // removed at the end
	errs     io.Writer
	began    time.Time
	deadline time.Time
}

func newEnv(o options, errs io.Writer) (*env, error) {
	root, err := os.MkdirTemp(o.dir, "cqrs-bench-")
	if err != nil {
		return nil, fmt.Errorf("no folder to work in: %w", err)
	}
	now := time.Now()
	return &env{options: o, root: root, errs: errs, began: now, deadline: now.Add(o.budget)}, nil
}

func (e *env) close() error { return os.RemoveAll(e.root) }

// late tells that the time for all benchmarks is used up: what is left is measured less often.
func (e *env) late() bool { return time.Now().After(e.deadline) }

// unhurried is for turns that are short beside what was done to come to them.
func (e *env) unhurried() *env {
	u := *e
	u.deadline = time.Now().Add(time.Hour)
	return &u
}

const (
	leastN = 1000
	mostN  = 100_000
	trialN = 5000
	passes = 45 // about how many times n commands go through the library in a whole run
)

// chooseN sets the number of commands when none was given: as many as fit into the time.
func (e *env) chooseN() error {
	if e.n != 0 {
		return nil
	}
	u, err := embedded(e, trialN).run(0)
	if err != nil {
		return fmt.Errorf("trying how fast this machine is: %w", err)
	}
	e.n = min(max(int(u.rate()*e.budget.Seconds())/passes/1000*1000, leastN), mostN)
	e.say("%.0f/s in a trial: n is %d", u.rate(), e.n)
	return nil
}

// say tells what is going on.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.errs, "%4.0fs %s\n", time.Since(e.began).Seconds(), fmt.Sprintf(format, args...))
}

// folder makes an empty folder, which the caller removes.
func (e *env) folder() (string, error) { return os.MkdirTemp(e.root, "") }

// sizeOf is the bytes of all files in a folder.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
