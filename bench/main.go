// Command bench measures the library and others side by side, and prints ratios.
//
//	go run . [-n COMMANDS] [-only TEXT] [-dir FOLDER] [-january FILE] [-report]
//
// A result is a line on the standard output; what is going on is told on the standard error. The status is 1 when a goal is missed,
// unless -report is given, and 2 when a benchmark could not be run. It needs a Unix.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// benchmarks run in this order. Each has a file of its own.
var benchmarks = []benchmark{
	watermillMemory,
	watermillBolt,
	logAlone,
	idle,
	allocations,
	asOfDeep,
	rebuild,
	historyCost,
	january,
	depth,
	kafkaTwoHops,
	kafkaGoka,
	kafkaIdle,
	dynamoCPU,
}

func main() { os.Exit(run(os.Args[1:], benchmarks, os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	n, rounds  int
	only, dir  string
	january    string
	budget     time.Duration
	report     bool
	cpu, alloc string
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.IntVar(&o.n, "n", 0, "`commands` of a whole run; what takes long gets a part of it. Defaults to 100000, or less where the machine is slow")
	flags.IntVar(&o.rounds, "rounds", 3, "times that contenders run in turns")
	flags.DurationVar(&o.budget, "budget", 150*time.Second, "when it is used up, what is left runs one round instead of -rounds")
	flags.StringVar(&o.only, "only", "", "only benchmarks with this `text` in the name of a line")
	flags.StringVar(&o.dir, "dir", "", "a `folder` on the disk to measure. Defaults to that for temporary files")
	flags.StringVar(&o.january, "january", "", "the `file` with the flight commands of January 2013")
	flags.BoolVar(&o.report, "report", false, "exit with status 0 though a goal is missed")
	flags.StringVar(&o.cpu, "cpuprofile", "", "write a CPU profile to this `file`")
	flags.StringVar(&o.alloc, "memprofile", "", "write a profile of all allocations to this `file`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if o.n != 0 && o.n < leastN || o.rounds < 1 {
		return o, fmt.Errorf("-n must be at least %d, and -rounds at least 1", leastN)
	}
	return o, nil
}

const (
	allMet = iota
	goalMissed
	notRun
)

// run is the whole program.
func run(args []string, list []benchmark, out, errs io.Writer) (status int) {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return allMet
	}
	var e *env
	if err == nil {
		e, err = newEnv(o, errs)
	}
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return notRun
	}
	if err = e.chooseN(); err == nil {
		status, err = runProfiled(e, list, out)
	}
	if err = errors.Join(err, e.close()); err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return notRun
	}
	return status
}

func runProfiled(e *env, list []benchmark, out io.Writer) (int, error) {
	stop, err := profile(e.options)
	if err != nil {
		return notRun, err
	}
	status, err := runAll(e, list, out)
	return status, errors.Join(err, stop())
}

// runAll runs the benchmarks that were asked for. One that fails does not keep the others from running.
func runAll(e *env, list []benchmark, out io.Writer) (status int, errs error) {
	var s summary
	fmt.Fprintf(out, "bench setup n=%d rounds=%d cpus=%d os=%s arch=%s go=%s\n", e.n, e.rounds, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	for _, b := range list {
		if !b.wanted(e.only) {
			continue
		}
		if why := b.missing(e); why != "" {
			e.say("%s is left out: %s", b.goals[0].name, why)
			continue
		}
		e.say("%s", b.goals[0].name)
		values, err := b.run(e)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", b.goals[0].name, err))
			continue
		}
		s.print(out, b.goals, values)
	}
	if s.shown == 0 && errs == nil {
		return notRun, fmt.Errorf("no benchmark was run: is -only %q the name of one?", e.only)
	}
	fmt.Fprintln(out, s.line())
	if len(s.missed) > 0 && !e.report {
		return goalMissed, errs
	}
	return allMet, errs
}

func (b *benchmark) wanted(only string) bool {
	for _, g := range b.goals {
		if strings.Contains(g.name, only) {
			return true
		}
	}
	return false
}

func (b *benchmark) missing(e *env) string {
	if b.needs == nil {
		return ""
	}
	return b.needs(e)
}

// summary counts the goals.
type summary struct {
	shown, goals, met, then int
	missed                  []string
}

func (s *summary) print(out io.Writer, goals []goal, values []float64) {
	for i, g := range goals {
		fmt.Fprintln(out, g.line(values[i]))
		s.shown++
		if !g.bounded() {
			continue
		}
		s.goals++
		if !g.passes(values[i]) {
			s.missed = append(s.missed, g.name)
			continue
		}
		s.met++
		if g.reached(values[i]) {
			s.then++
		}
	}
}

func (s *summary) line() string {
	list := append([]string{fmt.Sprintf("bench summary goals=%d met=%d then=%d missed=%d", s.goals, s.met, s.then, len(s.missed))}, s.missed...)
	return strings.Join(list, " ")
}

// profile begins the profiles that were asked for.
func profile(o options) (stop func() error, err error) {
	stop = func() error { return nil }
	if o.alloc != "" {
		runtime.MemProfileRate = 4096
		stop = func() error { return writeAllocs(o.alloc) }
	}
	if o.cpu == "" {
		return stop, nil
	}
	f, err := os.Create(o.cpu)
	if err != nil {
		return nil, err
	}
	first := stop
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(first(), f.Close())
	}, pprof.StartCPUProfile(f)
}

func writeAllocs(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
