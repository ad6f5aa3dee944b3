package sim_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/internal/sim"
)

// options are those of one history, as the flags say.
func options(t *testing.T) sim.Options {
	o := sim.Options{Seed: *seed, Trace: os.Stdout, Dir: dir(), Commands: *commands, Processes: *processes}
	if *without != "" {
		o.Without = strings.Split(*without, ";")
	}
	switch *only {
	case "":
	case "none":
		o.Only = []sim.FaultID{}
	default:
		for _, text := range strings.Split(*only, ",") {
			var id sim.FaultID
			if _, err := fmt.Sscanf(text, "%d.%d", &id.Kind, &id.N); err != nil {
				t.Fatalf("-only %s: %v", text, err)
			}
			o.Only = append(o.Only, id)
		}
	}
	return o
}

// flags are what options reads.
func flags(o sim.Options) string {
	text := fmt.Sprintf("-seed %d", o.Seed)
	if o.Commands > 0 {
		text += fmt.Sprintf(" -commands %d", o.Commands)
	}
	if o.Processes > 0 {
		text += fmt.Sprintf(" -processes %d", o.Processes)
	}
	if len(o.Without) > 0 {
		text += fmt.Sprintf(" -without %q", strings.Join(o.Without, ";"))
	}
	if o.Only == nil {
		return text
	}
	list := []string{}
	for _, id := range o.Only {
		list = append(list, id.String())
	}
	return text + " -only " + cmp.Or(strings.Join(list, ","), "none")
}

// shrinkFor is how long a smaller history is looked for.
func shrinkFor() time.Duration {
	if testing.Short() {
		return 5 * time.Second
	}
	return 20 * time.Second
}

// report tells of the histories that failed. The first ones are made smaller before.
func (s *sum) report(t *testing.T) {
	t.Helper()
	slices.SortFunc(s.failed, func(a, b sim.Result) int { return cmp.Compare(a.Seed, b.Seed) })
	for i, r := range s.failed {
		o := sim.Options{Seed: r.Seed, Dir: dir()}
		if i < 3 {
			o, r = sim.Shrink(o, r, shrinkFor())
		}
		for _, f := range r.Faults {
			t.Errorf("seed %d: %s", r.Seed, f)
		}
		t.Errorf("%d commands, %d faults. To see what happened: go test ./sim -run TestSeed %s -v", r.Commands, len(r.Happened), flags(o))
	}
}

// What fails is made smaller, and fails in the same way.
func TestAFailingHistoryShrinks(t *testing.T) {
	for _, name := range []string{"offset before effect", "store timeout taken for success", "append timeout taken for success"} {
		r := hunt(name).first
		if len(r.Faults) == 0 {
			t.Errorf("mutant %q was not found", name)
			continue
		}
		shrinkMutant(t, name, r)
	}
}

func shrinkMutant(t *testing.T, name string, r sim.Result) {
	defer mutant.Wake(name)()
	small, after := sim.Shrink(sim.Options{Seed: r.Seed, Dir: dir()}, r, shrinkFor())
	t.Logf("%s: %d commands and %d faults became %d and %d: %s", name, r.Commands, len(r.Happened), after.Commands, len(after.Happened), flags(small))
	if 2*(after.Commands+len(after.Happened)) > r.Commands+len(r.Happened) {
		t.Errorf("%s: %d commands and %d faults became %d and %d", name, r.Commands, len(r.Happened), after.Commands, len(after.Happened))
	}
	if again := sim.Run(small); !slices.Equal(again.Faults, after.Faults) || again.Trace != after.Trace {
		t.Errorf("%s: run again, it gives %v, and not %v", name, again.Faults, after.Faults)
	}
}
