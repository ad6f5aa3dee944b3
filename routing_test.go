package cqrs_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// What reaches feedback, errors and store, by testdata/golden/routing.json. Where the original loses a command silently, ours must report it.
func TestGoldenRouting(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden/routing.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Process          string
			Feedback, Stored int
			Errors           []struct{ Level, Msg, Tag string }
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{ // how the test program does what the case says
		"returns one event":                   "",
		"throws an exception with message ex": "error",
		"returns one event and one error segment (level user, msg no, tag mine)": "remark",
		"returns nil": "nothing",
		"throws an Error that is no Exception (assertion, stack overflow)": "panic",
	}
	for _, c := range file.Cases {
		mode, known := modes[c.Process]
		if !known {
			t.Errorf("a case that this test does not know: %q", c.Process)
			continue
		}
		t.Run(c.Process, func(t *testing.T) {
			rt, _, _ := start(t, t.TempDir(), counterConfig())
			out, err := do(t, rt, add{Name: "a", By: 1, Mode: mode})
			if len(out.Events) != c.Stored || len(out.Events) != c.Feedback {
				t.Errorf("%d events, wanted %d stored and %d in feedback", len(out.Events), c.Stored, c.Feedback)
			}
			for _, e := range out.Events {
				if _, err := rt.Store().Event(t.Context(), e.ID); err != nil {
					t.Error(err)
				}
			}
			reported := append([]*cqrs.Error{}, out.Remarks...)
			if e, ok := err.(*cqrs.Error); ok {
				reported = append(reported, e)
			}
			for i, want := range c.Errors {
				if len(reported) <= i || reported[i].Level.String() != want.Level || reported[i].Tag != want.Tag {
					t.Errorf("errors %v, wanted %+v", reported, want)
				}
			}
			switch mode {
			case "nothing": // lost by the original; here an accepted commit without events
				if err != nil || out.T != 1 {
					t.Errorf("%+v %v", out, err)
				}
			case "panic": // lost by the original; here a dead letter
				wantError(t, err, cqrs.Dev, "process-command")
				if letters, err := rt.DeadLetters(t.Context()); err != nil || len(letters) != 1 {
					t.Errorf("dead letters %v %v", letters, err)
				}
			}
			mustDo(t, rt, add{Name: "b", By: 1}) // the next command is processed
		})
	}
}
