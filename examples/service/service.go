package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// service answers HTTP requests from a runtime. Every answer is final, or says that the same request may be sent again, to this
// instance or another: status 503.
type service struct {
	rt    *cqrs.Runtime
	types map[string]bool // of commands
	wait  time.Duration   // for the end of a command, or for a basis
}

func newService(rt *cqrs.Runtime, cfg cqrs.Config, wait time.Duration) *service {
	s := &service{rt: rt, types: map[string]bool{}, wait: wait}
	for _, c := range cfg.Commands {
		s.types[c.CommandType()] = true
	}
	return s
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /commands/{type...}", s.command)
	mux.HandleFunc("GET /accounts/{number}", s.account)
	mux.HandleFunc("GET /shards/{shard}", s.shard)
	mux.HandleFunc("GET /shards/{shard}/accounts", s.accounts)
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, fault{Status: http.StatusNotFound, Message: r.Method + " " + r.URL.Path + " is not known"})
	})
	return mux
}

// within bounds how long a request waits.
func (s *service) within(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), s.wait)
}

// fault is an answer that is no success, as JSON.
type fault struct {
	Status  int            `json:"status"`
	ID      *uuid.UUID     `json:"id,omitempty"` // of the command: sent again under it, it has no second effect
	Level   string         `json:"level,omitempty"`
	Tag     string         `json:"tag,omitempty"`
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"`
	Retry   bool           `json:"retry"` // the same request may be sent again
}

func fail(w http.ResponseWriter, f fault) {
	if f.Retry = f.Status == http.StatusServiceUnavailable; f.Retry {
		w.Header().Set("Retry-After", "1")
	}
	reply(w, f.Status, map[string]fault{"error": f})
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"status":500,"message":"the answer can't be encoded"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who asked has gone
}

// health tells how each shard is. Status 503 means: send requests elsewhere.
func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	type shard struct {
		Shard     int    `json:"shard"`
		Owner     bool   `json:"owner"`
		T         uint64 `json:"t"`
		Backlog   int64  `json:"backlog"`
		Failed    uint64 `json:"failed"`
		Retrying  string `json:"retrying,omitempty"`
		FileBytes int64  `json:"fileBytes"`
	}
	status, list := http.StatusOK, []shard{}
	for _, h := range s.rt.Health() {
		one := shard{Shard: h.Shard, Owner: h.Owner, T: h.T, Backlog: h.Backlog, Failed: h.Failed, FileBytes: h.FileBytes}
		if h.Retrying != nil {
			status, one.Retrying = http.StatusServiceUnavailable, h.Retrying.Error()
		}
		list = append(list, one)
	}
	reply(w, status, map[string]any{"shards": list})
}

// outOfReach is the answer to errors that pass by themselves, here or on another instance.
func outOfReach(err error) fault {
	return fault{Status: http.StatusServiceUnavailable, Message: err.Error()}
}

func readFault(err error) fault {
	f := outOfReach(err)
	switch {
	case errors.Is(err, cqrs.ErrNotFound):
		f.Status = http.StatusNotFound
	case errors.Is(err, cqrs.ErrPruned):
		f.Status = http.StatusGone
	}
	return f
}
