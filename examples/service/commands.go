package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

const maxBody = 64 << 10

// command sends what the body says, and waits for its end. Idempotency-Key is the command's id: a request that got no final
// answer is sent again with the same one. If-Match takes the ETag of what the sender has seen: the command's basis.
func (s *service) command(w http.ResponseWriter, r *http.Request) {
	e, f := s.envelope(w, r)
	if f.Status != 0 {
		fail(w, f)
		return
	}
	ctx, cancel := s.within(r)
	defer cancel()
	receipts, err := s.rt.Submit(ctx, e)
	if err != nil {
		f = outOfReach(err)
		f.ID = &e.ID
		fail(w, f)
		return
	}
	out, err := receipts[0].Wait(ctx)
	if err != nil {
		fail(w, ended(e.ID, err))
		return
	}
	w.Header().Set("Basis", out.Basis().String())
	reply(w, http.StatusOK, answerOf(out))
}

// envelope reads the request.
func (s *service) envelope(w http.ResponseWriter, r *http.Request) (e cqrs.Envelope, f fault) {
	if e.Type = r.PathValue("type"); !s.types[e.Type] {
		return e, fault{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no command %q", e.Type)}
	}
	if e.ID, f = idOf(r); f.Status != 0 {
		return e, f
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return e, fault{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("a command has at most %d bytes", maxBody)}
	}
	var key struct {
		Account string `json:"account"`
	}
	if err := errors.Join(err, json.Unmarshal(body, &key)); err != nil || len(key.Account) > 100 {
		return e, fault{Status: http.StatusBadRequest, Message: fmt.Sprintf("the body must be a JSON object, "+
			"its account a text of at most 100 bytes: %v", err)}
	}
	e.Key, e.Data = key.Account, body
	return s.rooted(e, r.Header.Get("If-Match"))
}

func idOf(r *http.Request) (uuid.UUID, fault) {
	text := r.Header.Get("Idempotency-Key")
	if text == "" {
		return uuid.Must(uuid.NewV7()), fault{}
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return id, fault{Status: http.StatusBadRequest, Message: fmt.Sprintf("Idempotency-Key is %.50q, and must be a uuid", text)}
	}
	return id, fault{}
}

// rooted sets the command's basis.
func (s *service) rooted(e cqrs.Envelope, etag string) (cqrs.Envelope, fault) {
	if etag == "" {
		return e, fault{}
	}
	basis, err := cqrs.ParseBasis(strings.Trim(etag, `"`))
	if err != nil || basis.Shard != s.rt.ShardOf(e.Key) {
		return e, fault{Status: http.StatusBadRequest, Message: fmt.Sprintf("If-Match is %.50s, and must be the ETag of the account", etag)}
	}
	e.Basis = &basis.T
	return e, fault{}
}

// ended says how a command ended that was not accepted, or that its end is not known yet.
func ended(id uuid.UUID, err error) fault {
	e := (*cqrs.Error)(nil)
	if !errors.As(err, &e) {
		f := outOfReach(err)
		f.ID = &id
		return f
	}
	f := fault{Status: http.StatusInternalServerError, ID: &id, Level: e.Level.String(), Tag: e.Tag, Message: e.Message, Data: e.Data}
	switch {
	case e.Level == cqrs.User && (e.Tag == "conflict" || e.Tag == "id-conflict"):
		f.Status = http.StatusConflict
	case e.Level == cqrs.User:
		f.Status = http.StatusUnprocessableEntity
	}
	return f
}

// answer is what the sender of an accepted command gets.
type answer struct {
	ID     uuid.UUID  `json:"id"`
	Basis  cqrs.Basis `json:"basis"` // reads from there on show the effect
	Repeat bool       `json:"repeat,omitempty"`
	Events []event    `json:"events"`
}

type event struct {
	ID   uuid.UUID       `json:"id"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func answerOf(out cqrs.Outcome) answer {
	a := answer{ID: out.Command, Basis: out.Basis(), Repeat: out.Repeat, Events: []event{}}
	for _, r := range out.Events {
		a.Events = append(a.Events, event{r.Event.ID, r.Event.Type, r.Event.Data})
	}
	return a
}
