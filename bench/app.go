package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/cqrs-server/cqrs"
)

// The program under measure: a command that is always accepted, one event, and a counter for each user.

// CommandType is the command's name.
func (PageView) CommandType() string { return "page/view" }

// ProcessCommand accepts the page view.
func (c PageView) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{PageViewed(c)}, nil
}

// PageViewed is the event.
type PageViewed PageView

// EventType is the event's name.
func (PageViewed) EventType() string { return "page/viewed" }

// Views is the row of a user.
type Views struct {
	User  string
	Count int
}

var viewsOf = cqrs.NewTable("views", func(v Views) string { return v.User })

type counter struct{}

func (counter) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	user := e.(PageViewed).User
	row, err := viewsOf.Get(tx, user)
	if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		return err
	}
	return viewsOf.Put(tx, Views{user, row.Count + 1})
}

func appConfig() cqrs.Config {
	return cqrs.Config{
		Commands: []cqrs.Command{PageView{}}, Events: []cqrs.Event{PageViewed{}},
		Aggregator: counter{}, Tables: []cqrs.AnyTable{viewsOf},
	}
}

// app is a runtime that is running.
type app struct {
	*cqrs.Runtime
	ended chan error
}

func openApp(dir string, config cqrs.Config) (*app, error) {
	rt, err := cqrs.Open(dir, config)
	if err != nil {
		return nil, err
	}
	a := &app{rt, make(chan error, 1)}
	go func() { a.ended <- rt.Run(context.Background()) }()
	return a, nil
}

func (a *app) close() error { return errors.Join(a.Close(), <-a.ended) }

// send sends a command and waits for its end.
func (a *app) send(w *work, i int) error {
	receipt, err := a.Send(context.Background(), w.view(i), cqrs.WithID(w.ids[i]))
	if err != nil {
		return err
	}
	_, err = receipt.Wait(context.Background())
	return err
}

const (
	submitSize  = 1000
	submitAhead = 4 // submits that may wait for their ends
)

// submit sends a part of the work in lists of envelopes, in order, and waits for all of it.
func (a *app) submit(w *work, from, to int) error {
	waiting := make(chan []*cqrs.Receipt, submitAhead)
	waited := make(chan error, 1)
	go func() {
		var err error
		for receipts := range waiting {
			for _, r := range receipts {
				_, ended := r.Wait(context.Background())
				err = errors.Join(err, ended)
			}
		}
		waited <- err
	}()
	err := a.submitTo(waiting, w, from, to)
	close(waiting)
	return errors.Join(err, <-waited)
}

func (a *app) submitTo(waiting chan<- []*cqrs.Receipt, w *work, from, to int) error {
	for ; from < to; from += submitSize {
		var list []cqrs.Envelope
		for i := from; i < min(from+submitSize, to); i++ {
			data, err := json.Marshal(w.view(i))
			if err != nil {
				return err
			}
			list = append(list, cqrs.Envelope{ID: w.ids[i], Type: PageView{}.CommandType(), Data: data})
		}
		receipts, err := a.Submit(context.Background(), list...)
		if err != nil {
			return err
		}
		waiting <- receipts
	}
	return nil
}

// check compares the table with the work.
func (a *app) check(w *work) error {
	if h := a.Health(); len(h) > 0 && h[0].T != uint64(w.once()) {
		return fmt.Errorf("t is %d after %d different commands", h[0].T, w.once())
	}
	view := a.View()
	return w.check(func(user string) (int, error) {
		row, err := viewsOf.Get(view, user)
		if errors.Is(err, cqrs.ErrNotFound) {
			return 0, nil
		}
		return row.Count, err
	})
}

// embedded is the library on its own files, everything durable.
func embedded(e *env, n int) contender {
	return contender{"cqrs", func(round int) (usage, error) {
		w, err := newWork(n, int64(round))
		if err != nil {
			return usage{}, err
		}
		dir, err := e.folder()
		if err != nil {
			return usage{}, err
		}
		defer os.RemoveAll(dir)
		return runEmbedded(dir, w)
	}}
}

func runEmbedded(dir string, w *work) (usage, error) {
	a, err := openApp(dir, appConfig())
	if err != nil {
		return usage{}, err
	}
	u, err := measure(w.len(), func() error {
		return each(w.len(), inFlight, func(i int) error { return a.send(w, i) })
	})
	if err == nil {
		err = a.check(w)
	}
	if err = errors.Join(err, a.close()); err == nil {
		u.disk, err = sizeOf(dir)
	}
	return u, err
}
