package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
)

func TestConflict(t *testing.T) {
	command := uuid.New()
	record := func(events ...Event) *Record {
		return &Record{Envelope: Envelope{Command: command}, Events: events}
	}
	a, b := Event{Segment: "1", Type: "a", Data: []byte("a")}, Event{Segment: "1", Type: "b"}
	for _, c := range []struct {
		name            string
		stored, offered *Record
		want            uuid.UUID
	}{
		{"same events", record(a, b), record(a, b), uuid.Nil},
		{"no events", record(), record(), uuid.Nil},
		{"data", record(a, b), record(Event{Segment: "1", Type: "a", Data: []byte("A")}, b), ids.Event(command, 0, "1")},
		{"type", record(a, a), record(a, b), ids.Event(command, 1, "1")},
		{"segment", record(a), record(Event{Segment: "2", Type: "a", Data: []byte("a")}), ids.Event(command, 0, "2")},
		{"more", record(a), record(a, b), ids.Event(command, 1, "1")},
		{"fewer", record(a, b), record(a), ids.Event(command, 1, "1")},
		{"first of two", record(a, b), record(b, a), ids.Event(command, 0, "1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Conflict(c.stored, c.offered); got.Event != c.want || got.Command != command {
				t.Errorf("got %+v, want command %s and event %s", got, command, c.want)
			}
		})
	}
}

func TestConflictErrorSaysWhat(t *testing.T) {
	c := &ConflictError{Command: uuid.New(), Event: uuid.New()}
	err := fmt.Errorf("put: %w", c)
	if got, ok := errors.AsType[*ConflictError](err); !ok || got != c {
		t.Fatal("the error does not come out of its wrapping")
	}
	for _, want := range []string{c.Command.String(), c.Event.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}
