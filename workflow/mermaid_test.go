package workflow

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMermaid(t *testing.T) {
	every := numbers(NewMemory(), NewMemory(), true)
	every.Workflow = append(every.Workflow, Edge{"out", `odd "name"`}, Edge{"out", "ghost"})
	every.Catalog["errs"] = Task{Kind: Output, Medium: "kafka"}
	every.Catalog[`odd "name"`] = Task{Kind: Output, Medium: "a#b <c>"}
	every.Flow = append(every.Flow,
		Condition{From: "edge-in", To: []string{"div"}, When: always},
		Condition{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true, Label: "error"},
		Condition{From: All, To: []string{All}, When: Not(IsError), Label: "no error"},
		Condition{From: "dup", When: always, ShortCircuit: true, Label: "drop"},
	)
	for file, p := range map[string]Plan{
		"testdata/numbers.mmd":  numbers(NewMemory(), NewMemory(), false),
		"testdata/every.mmd":    every,
		"testdata/nothing.mmd":  {},
		"testdata/unknown.mmd":  {Workflow: Workflow{{"a", "b"}}},
		"testdata/linkless.mmd": {Catalog: Catalog{"in": {Kind: Input, Link: "gone"}}},
	} {
		t.Run(file, func(t *testing.T) {
			got := p.Mermaid()
			if *update {
				os.WriteFile(file, []byte(got), 0o644)
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want(t, "drawing", got, string(golden))
		})
	}
}
