package workflow_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/workflow"
)

// A plan is data: edges, what each name is, and on which conditions an edge is taken.
func Example() {
	lines := workflow.NewMemory("12", "seven", "30")
	lines.Close()
	numbers, refused := workflow.NewMemory(), workflow.NewMemory()

	plan := workflow.Plan{
		Workflow: workflow.Workflow{{From: "lines", To: "parse"}, {From: "parse", To: "numbers"}},
		Catalog: workflow.Catalog{
			"lines":   {Kind: workflow.Input, Medium: "memory", In: lines},
			"parse":   {Kind: workflow.Function, Fn: parse},
			"numbers": {Kind: workflow.Output, Medium: "memory", Out: numbers},
			"refused": {Kind: workflow.Output, Medium: "memory", Out: refused},
		},
		Flow: []workflow.Condition{
			{From: workflow.All, To: []string{"refused"}, When: workflow.IsError, ShortCircuit: true, Label: "error"},
		},
	}
	engine, err := workflow.New(plan, workflow.Hooks{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := engine.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(numbers.Segments())
	fmt.Println(refused.Segments())
	// Output:
	// [12 30]
	// [workflow: task "parse": expected integer]
}

func parse(_ context.Context, _ workflow.Params, line workflow.Segment) ([]workflow.Segment, error) {
	var n int
	if _, err := fmt.Sscan(line.(string), &n); err != nil {
		return nil, err
	}
	return []workflow.Segment{n}, nil
}

// Validate lists all that is wrong with a plan.
func ExamplePlan_Validate() {
	plan := workflow.Plan{
		Workflow: workflow.Workflow{{From: "in", To: "double"}, {From: "double", To: "owt"}},
		Catalog: workflow.Catalog{
			"in":     {Kind: workflow.Input, In: workflow.NewMemory()},
			"double": {Kind: workflow.Function},
			"out":    {Kind: workflow.Output, Out: workflow.NewMemory()},
		},
	}
	err := plan.Validate()
	fmt.Println(err)
	var fault *workflow.Fault
	fmt.Println(errors.As(err, &fault), fault.Task)
	// Output:
	// task "double": is a function without Fn
	// task "out": cannot be reached from an input that has In
	// task "owt": is in the edge double > owt but not in the catalog
	// true double
}

// Mermaid draws a plan for people.
func ExamplePlan_Mermaid() {
	plan := workflow.Plan{
		Workflow: workflow.Workflow{{From: "in", To: "double"}, {From: "double", To: "out"}},
		Catalog: workflow.Catalog{
			"in":     {Kind: workflow.Input, Medium: "kafka"},
			"double": {Kind: workflow.Function},
			"out":    {Kind: workflow.Output, Medium: "bolt"},
		},
		Flow: []workflow.Condition{{From: "double", To: []string{"out"}, Label: "not zero"}},
	}
	fmt.Print(plan.Mermaid())
	// Output:
	// flowchart LR
	//     n0(["in<br/>kafka"])
	//     n1["double"]
	//     n2[("out<br/>bolt")]
	//     n0 --> n1
	//     n1 -. "not zero" .-> n2
}
