package cqrs

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/google/uuid"
)

// Level says whose concern an error is, and with it where the error goes.
type Level uint8

// The levels of errors.
const (
	Dev    Level = iota + 1 // a defect: an unknown type, a panic, a fold that fails. It goes to the dead letters
	User                    // a command that is refused: validation, a rule, a conflict. It goes to feedback
	System                  // network, disk, throttling. It is tried again, in order, until it passes, or Config.MaxRetries ends it
)

func (l Level) String() string {
	switch l {
	case Dev:
		return "dev"
	case User:
		return "user"
	case System:
		return "system"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// MarshalJSON gives the name: other programs read errors in the feedback queue.
func (l Level) MarshalJSON() ([]byte, error) {
	if l < Dev || l > System {
		return json.Marshal(uint8(l))
	}
	return json.Marshal(l.String())
}

// UnmarshalJSON reads the name, or the number that stood for it before.
func (l *Level) UnmarshalJSON(b []byte) error {
	for known := Dev; known <= System; known++ {
		if string(b) == `"`+known.String()+`"` {
			*l = known
			return nil
		}
	}
	return json.Unmarshal(b, (*uint8)(l))
}

// The tags that the library gives to its errors; a program may use others.
const (
	tagEnvelope   = "envelope"          // dev: a message that is no command
	tagCoerce     = "command-coerce"    // dev: a command type that is not registered
	tagValidation = "validation"        // user: data that does not fit the command's type
	tagProcess    = "process-command"   // dev: an error or a panic in ProcessCommand
	tagRejected   = "rejected"          // user: refused by ProcessCommand
	tagIDConflict = "id-conflict"       // user: the id belongs to another command
	tagConflict   = "conflict"          // user: what an Unchanged decision read has changed since its basis
	tagBasis      = "basis"             // user: a basis that this shard has not reached
	tagTooLarge   = "too-large"         // dev: an event or a commit over the limit
	tagAggregate  = "aggregate-event"   // dev: an error or a panic in AggregateEvent
	tagStore      = "event-store"       // dev: refused by the store
	tagDifferent  = "non-deterministic" // dev: the same id with other bytes
	tagWorkflow   = "workflow"          // dev: an error or a panic in a task of the program's own
)

var (
	// ErrNotFound says that there is no such row or commit. What Runtime.Store gives says store.ErrNotFound.
	ErrNotFound = errors.New("cqrs: not found")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("cqrs: the runtime is closed")
	// ErrLocked is returned by Open when another process holds the data folder.
	ErrLocked = errors.New("cqrs: another process holds the data folder")
	// ErrDamaged says that a file of the data folder is damaged, or not one of this library's. The error around it names the file.
	ErrDamaged = boltfile.ErrDamaged
	// ErrUnknown is wrapped by an error of Send when the command may or may not have been kept. Sending it again under
	// the same id is safe. After any other error of Send it was not kept.
	ErrUnknown = errors.New("cqrs: it is not known whether the command was kept")
	// ErrPruned is returned by a read as of a t that is older than the history that Config keeps.
	ErrPruned = errors.New("cqrs: the history does not reach back to that t")
	// ErrFuture is returned by a read as of a t that the shard has not reached.
	ErrFuture = errors.New("cqrs: that t is still to come")
)

// Error is how a command, or an event, failed. It travels: to the sender, into the dead letters.
type Error struct {
	Command uuid.UUID      `json:"command"`
	Level   Level          `json:"level"`
	Tag     string         `json:"tag"` // what kind of error: "validation", "rejected", ...
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"` // facts for programs, as JSON
	cause   error
	origin  *command    // what failed, for the dead letter
	gaveUp  bool        // of level system, and not tried again
	fold    *failedFold // the event of an accepted command whose fold failed: the command itself ended well
}

func (e *Error) Error() string {
	if e.Command == (uuid.UUID{}) {
		return fmt.Sprintf("%s (%s, %s)", e.Message, e.Level, e.Tag)
	}
	return fmt.Sprintf("%s (command %s, %s, %s)", e.Message, e.Command, e.Level, e.Tag)
}

// Unwrap gives the Go error behind it. It is there only in the process where the error arose.
func (e *Error) Unwrap() error {
	if e == nil { // a nil *Error that was returned as an error
		return nil
	}
	return e.cause
}

// With returns a copy with a fact added to Data.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Data = maps.Clone(e.Data)
	if c.Data == nil {
		c.Data = map[string]any{}
	}
	c.Data[key] = value
	return &c
}

// Tagged returns a copy with another tag.
func (e *Error) Tagged(tag string) *Error {
	c := *e
	c.Tag = tag
	return &c
}

// Reject is what ProcessCommand returns to refuse a command: an error of level user, tag "rejected". The sender hears of it; nothing
// else happens.
func Reject(format string, args ...any) *Error {
	return &Error{Level: User, Tag: tagRejected, Message: fmt.Sprintf(format, args...)}
}

// Retry is what ProcessCommand returns when something it needs is out of reach at the moment: an error of level system. The command
// is tried again until it passes, or as often as Config.MaxRetries says, and those behind it wait.
func Retry(err error) *Error {
	return &Error{Level: System, Tag: tagProcess, Message: err.Error(), cause: err}
}

func devError(tag string, err error) *Error {
	return &Error{Level: Dev, Tag: tag, Message: fmt.Sprint(err), cause: err} // Sprint bears with an error whose method panics
}

func userError(tag, format string, args ...any) *Error {
	return &Error{Level: User, Tag: tag, Message: fmt.Sprintf(format, args...)}
}

// of returns the error with the command's id filled in.
func (e *Error) of(command uuid.UUID) *Error {
	if e.Command == command {
		return e
	}
	c := *e
	c.Command = command
	return &c
}

// asError makes an *Error of any error: one that is none already is a defect.
func asError(err error, tag string) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	return devError(tag, err)
}

func isSystem(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e != nil && e.Level == System && !e.gaveUp
}

const (
	maxMessage = 32 << 10  // bytes of an error's message that travel
	maxError   = 512 << 10 // of an error as it travels: its Data gives way
)

// encode gives the form in which an error travels. A message that is too long is cut. Data that is too large, or no JSON, is left out, and
// said so.
func (e *Error) encode() []byte {
	c := *e
	c.Message, c.Tag = shortened(e.Message, maxMessage), shortened(e.Tag, maxType)
	b, err := c.marshal()
	if err == nil && len(b) > maxError {
		err = fmt.Errorf("it has %d bytes, and the limit is %d", len(b), maxError)
	}
	if err != nil {
		c.Data = map[string]any{"lost": shortened(fmt.Sprint(err), maxMessage)}
		b, _ = json.Marshal(&c)
	}
	return b
}

// marshal bears with Data whose own encoding panics.
func (e *Error) marshal() (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(e)
}

// shortened cuts a text that is longer than limit bytes, and says so.
func shortened(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return fmt.Sprintf("%s ... (%d bytes)", strings.ToValidUTF8(s[:limit], ""), len(s))
}

func decodeError(b []byte) *Error {
	e := new(Error)
	if err := json.Unmarshal(b, e); err != nil {
		return devError(tagEnvelope, fmt.Errorf("an error that can't be read: %w", err))
	}
	return e
}
