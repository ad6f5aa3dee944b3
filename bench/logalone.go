package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
)

// The limit is the log alone: the senders encode command and event, one writer appends what has arrived to a plain file and
// fsyncs it, and a view in memory counts. Nothing is decoded, checked, indexed or kept of the past.

var logAlone = benchmark{
	goals: []goal{atLeast("embedded-vs-log-alone", 0.3, 0.6), shown("embedded-vs-log-alone-cpu")},
	run: func(e *env) ([]float64, error) {
		pairs, err := race(e, e.rounds, embedded(e, e.n), contender{"log alone", func(round int) (usage, error) {
			return runLogAlone(e, int64(round))
		}})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

// plainLog is a file that senders append to together.
type plainLog struct {
	file *os.File
	view *memoryView

	mu      sync.Mutex
	next    *group
	arrived chan struct{} // holds an entry when next is not empty
}

// group is what is written at a time.
type group struct {
	bytes   []byte
	entries []logEntry
	done    chan struct{} // closed when it is durable, and counted
	err     error
}

type logEntry struct {
	user    string
	command uuid.UUID
}

func newGroup() *group { return &group{done: make(chan struct{})} }

func openPlainLog(path string) (*plainLog, error) {
	f, err := os.Create(path)
	return &plainLog{file: f, view: newMemoryView(), next: newGroup(), arrived: make(chan struct{}, 1)}, err
}

// append returns when the command is durable, and counted.
func (l *plainLog) append(id uuid.UUID, data PageView) error {
	command, err1 := json.Marshal(data)
	event, err2 := json.Marshal(viewed(id, data))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	l.mu.Lock()
	g := l.next
	g.bytes = append(append(g.bytes, command...), event...)
	g.entries = append(g.entries, logEntry{data.User, id})
	l.mu.Unlock()
	select {
	case l.arrived <- struct{}{}:
	default:
	}
	<-g.done
	return g.err
}

// write writes what arrives, until nothing can arrive any more.
func (l *plainLog) write() {
	for range l.arrived {
		l.mu.Lock()
		g := l.next
		l.next = newGroup()
		l.mu.Unlock()
		_, err := l.file.Write(g.bytes)
		if err == nil {
			err = l.file.Sync()
		}
		for _, entry := range g.entries {
			err = errors.Join(err, l.view.count(entry.user, entry.command))
		}
		g.err = err
		close(g.done)
	}
}

func runLogAlone(e *env, seed int64) (u usage, err error) {
	w, err := newWork(e.n, seed)
	if err != nil {
		return u, err
	}
	dir, err := e.folder()
	if err != nil {
		return u, err
	}
	defer os.RemoveAll(dir)
	l, err := openPlainLog(filepath.Join(dir, "log"))
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, l.file.Close()) }()
	var writer sync.WaitGroup
	writer.Go(l.write)
	u, err = measure(w.len(), func() error {
		return each(w.len(), inFlight, func(i int) error { return l.append(w.ids[i], w.view(i)) })
	})
	close(l.arrived)
	writer.Wait()
	return u, errors.Join(err, w.checkMap(l.view.counts))
}
