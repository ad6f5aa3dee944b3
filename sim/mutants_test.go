package sim_test

import (
	"bufio"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/internal/sim"
)

const sample = 32 // so many histories are counted for the table

var (
	within = flag.Uint64("within", 600, "so many histories must find each mutant whose history is not known")
	prey   = flag.String("mutant", "", "hunt this mutant only")
	table  = flag.String("table", "", "the file for the table of mutants; testdata/mutants.txt is written anew too")
)

//go:embed testdata/mutants.txt
var knownSeeds string

// known is the first history that found a mutant when the table was written.
func known(name string) uint64 {
	for s := bufio.NewScanner(strings.NewReader(knownSeeds)); s.Scan(); {
		if n, seed, _ := strings.Cut(s.Text(), "\t"); n == name {
			first, _ := strconv.ParseUint(seed, 10, 64)
			return first
		}
	}
	return 0
}

// catch is what a hunt came to.
type catch struct {
	first         sim.Result
	found, sample int // so many of the sample's histories found it
}

// hunt runs histories until one finds the mutant.
func hunt(name string) (c catch) {
	defer mutant.Wake(name)()
	if seed := known(name); seed > 0 && *table == "" {
		if c.first = sim.Run(sim.Options{Seed: seed, Dir: dir()}); len(c.first.Faults) > 0 {
			return c
		}
	}
	c.sample = sample
	for tried := uint64(0); tried < *within; tried += sample {
		s := runMany(tried+1, sample)
		if tried == 0 {
			c.found = len(s.failed)
		}
		if len(s.failed) > 0 {
			c.first = slices.MinFunc(s.failed, func(a, b sim.Result) int { return int(a.Seed) - int(b.Seed) })
			return c
		}
	}
	if seed := known(name); seed > 0 { // a rare one
		c.first = sim.Run(sim.Options{Seed: seed, Dir: dir()})
	}
	return c
}

// Each defect that is put into the library on purpose must be found.
func TestMutantsAreFound(t *testing.T) {
	var rows, seeds strings.Builder
	for _, name := range sim.Mutants {
		if *prey != "" && *prey != name {
			continue
		}
		c := hunt(name)
		if len(c.first.Faults) == 0 {
			t.Errorf("mutant %q lives on after %d histories", name, *within)
			continue
		}
		invariant, _, _ := strings.Cut(c.first.Faults[0], ":")
		t.Logf("%-50s seed %3d, %d of %d: %.150s", name, c.first.Seed, c.found, c.sample, c.first.Faults[0])
		fmt.Fprintf(&rows, "%s\tfound by %d of %d histories, first by seed %d (invariant %s)\n", name, c.found, c.sample, c.first.Seed, invariant)
		fmt.Fprintf(&seeds, "%s\t%d\n", name, c.first.Seed)
	}
	if *table != "" && *prey == "" {
		writeFile(t, *table, rows.String())
		writeFile(t, "testdata/mutants.txt", seeds.String())
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every place at which the library can be broken is in the list, and nothing else is.
func TestMutantsAreListed(t *testing.T) {
	var found []string
	files, _ := filepath.Glob("../*.go")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`mutant\.Is\("([^"]*)"\)`).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	listed := slices.Sorted(slices.Values(sim.Mutants))
	if found = slices.Compact(found); !slices.Equal(found, listed) {
		t.Errorf("the source has the mutants\n%q\nand the list is\n%q", found, listed)
	}
}
