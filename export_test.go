package cqrs

import (
	"testing"

	"github.com/cqrs-server/cqrs/queue"
)

// AppendRaw puts a message into the command queue as another program might.
func AppendRaw(t *testing.T, rt *Runtime, value []byte) {
	t.Helper()
	if err := rt.queue.Append(t.Context(), topicCommands, 0, []queue.Message{{Value: value}}); err != nil {
		t.Fatal(err)
	}
}
