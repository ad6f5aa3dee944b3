package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// One command at a time, against one append and fsync of about the bytes that a command and its event have.

const rawAppend = 400 // bytes

var idle = benchmark{
	goals: []goal{atMost("embedded-idle-p50", 10, 5)},
	run: func(e *env) ([]float64, error) {
		ours, raw, err := runIdle(e, min(e.n/100, 1000))
		if err != nil {
			return nil, err
		}
		e.say("  p50 %.2f ms, of an append and fsync %.2f ms", ours*1e3, raw*1e3)
		return []float64{ours / raw}, nil
	},
}

// runIdle gives the median seconds of both, taken in turns.
func runIdle(e *env, n int) (ours, raw float64, err error) {
	w, err := newWork(n, 0)
	if err != nil {
		return 0, 0, err
	}
	dir, err := e.folder()
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	a, err := openApp(filepath.Join(dir, "cqrs"), appConfig())
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	var ourTimes, rawTimes []float64
	for i := range n {
		t1, err1 := timed(func() error { return a.send(w, i) })
		t2, err2 := timed(func() error { return appendSync(file) })
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, err
		}
		ourTimes, rawTimes = append(ourTimes, t1), append(rawTimes, t2)
	}
	return median(ourTimes), median(rawTimes), a.check(w)
}

var rawRecord = bytes.Repeat([]byte{'x'}, rawAppend)

func appendSync(f *os.File) error {
	if _, err := f.Write(rawRecord); err != nil {
		return err
	}
	return f.Sync()
}

// timed gives the seconds that a call takes.
func timed(call func() error) (float64, error) {
	began := time.Now()
	err := call()
	return time.Since(began).Seconds(), err
}
