package store

import (
	"bytes"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
)

// Conflict is the error for a record that is offered under the command id of another one that is stored. It names the first
// event that differs, and none when the events are the same.
func Conflict(stored, offered *Record) *ConflictError {
	return &ConflictError{Command: offered.Command, Event: firstDifference(stored.Events, offered.Events, offered.Command)}
}

func firstDifference(stored, offered []Event, command uuid.UUID) uuid.UUID {
	for i := range offered {
		if i >= len(stored) || !sameEvent(&stored[i], &offered[i]) {
			return ids.Event(command, i, offered[i].Segment)
		}
	}
	if n := len(offered); n < len(stored) {
		return ids.Event(command, n, stored[n].Segment)
	}
	return uuid.Nil
}

func sameEvent(a, b *Event) bool {
	return a.Segment == b.Segment && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}
