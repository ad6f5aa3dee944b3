package boltfile

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"go.etcd.io/bbolt"
)

// checkTree looks at all pages of the file while no other process can write it. (Whoever holds it open goes on: then the error is
// that of bbolt's lock.)
func (f *File) checkTree() error {
	db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: f.opts.Timeout, NoStatistics: true})
	if err != nil {
		return explain(err)
	}
	defer db.Close() // it was opened to read
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	meta, err := metaOf(file, info.Size())
	if err != nil {
		return err
	}
	return checkPages(file, meta)
}

// Guard makes an error of a panic that is about the file: of one in bbolt, and of a fault at an address that bbolt read from it. Any other
// panic goes on. It is deferred, in a function that gives up what it has read or written when there is an error:
//
//	defer file.Guard(&err, debug.SetPanicOnFault(true))
func (f *File) Guard(err *error, faults bool) {
	debug.SetPanicOnFault(faults)
	if p := recover(); p != nil {
		*err = f.Damage(p)
	}
}

// Damage is the error for what was recovered, if it is about the file; else it panics with it again. It must be called by the deferred
// function that recovered.
func (f *File) Damage(p any) error {
	if !inBolt(p) {
		panic(p)
	}
	return fmt.Errorf("%s: %w (met while it was in use: %v)%s", f.path, ErrDamaged, p, remedy)
}

const remedy = ": stop, and restore the folder from a snapshot"

// inBolt tells whether the function that panicked is bbolt's, or the panic is a fault.
func inBolt(p any) bool {
	if _, fault := p.(interface {
		runtime.Error
		Addr() uintptr
	}); fault {
		return true
	}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	panicking := false
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, "runtime."):
			panicking = panicking || frame.Function == "runtime.gopanic"
		case panicking:
			return strings.HasPrefix(frame.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false
		}
	}
}
