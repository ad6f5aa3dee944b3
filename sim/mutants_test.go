package sim_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/internal/sim"
)

// within is how many histories may pass before a mutant is found.
const within = 600

// hunt runs histories until one finds the mutant, and tells which.
func hunt(name string) (found sim.Result, tried int) {
	defer mutant.Wake(name)()
	for tried < within {
		s := runMany(uint64(tried)+1, 16)
		tried += 16
		if len(s.failed) > 0 {
			found = s.failed[0]
			for _, r := range s.failed {
				if r.Seed < found.Seed {
					found = r
				}
			}
			return found, tried
		}
	}
	return sim.Result{}, tried
}

// Each defect that is put into the library on purpose must be found.
func TestMutantsAreFound(t *testing.T) {
	for _, name := range sim.Mutants {
		if *one != "" && *one != name {
			continue
		}
		r, tried := hunt(name)
		if len(r.Faults) == 0 {
			t.Errorf("mutant %q lives on after %d histories", name, tried)
			continue
		}
		t.Logf("%-50s seed %3d: %s", name, r.Seed, fmt.Sprintf("%.150s", r.Faults[0]))
	}
}

var one = flag.String("mutant", "", "hunt this mutant only")
