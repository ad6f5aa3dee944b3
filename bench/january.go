package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The real stream runs in a process of its own, the example program, so that its memory can be told from that of the others.

const januaryCommands = 80_406

var january = benchmark{
	goals: []goal{
		atLeast("january-rate", 10_000, 30_000).absolute(),
		atMost("january-rss-mb", 256, 0).absolute(),
		shown("january-cpu-seconds").absolute(),
	},
	needs: func(e *env) string {
		if e.january == "" {
			return "it needs -january FILE"
		}
		return ""
	},
	run: runJanuary,
}

func runJanuary(e *env) ([]float64, error) {
	dir, err := e.folder()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, err := filepath.Abs(filepath.Join(dir, "flights"))
	if err != nil {
		return nil, err
	}
	if err := buildFlights(program); err != nil {
		return nil, err
	}
	var rates, peaks, cpus []float64
	for round := 0; round == 0 || round < e.rounds && !e.late(); round++ {
		f, err := runFlights(e, program, filepath.Join(dir, strconv.Itoa(round)))
		if err != nil {
			return nil, err
		}
		e.say("  %.0f/s, %.0f MB, %.2f s CPU", f.rate, f.peak, f.cpu)
		rates, peaks, cpus = append(rates, f.rate), append(peaks, f.peak), append(cpus, f.cpu)
	}
	return []float64{median(rates), median(peaks), median(cpus)}, nil
}

// buildFlights builds the example in its own module: it needs more than this one.
func buildFlights(program string) error {
	library, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cqrs-server/cqrs").Output()
	if err != nil {
		return fmt.Errorf("finding the library: %w", err)
	}
	build := exec.Command("go", "build", "-C", strings.TrimSpace(string(library)), "-o", program, "./examples/flights")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the example flights: %w\n%s", err, out)
	}
	return nil
}

// flights is what a whole run of the program took.
type flights struct {
	rate float64 // commands a second
	peak float64 // the most megabytes that it held
	cpu  float64 // seconds
}

func runFlights(e *env, program, data string) (f flights, err error) {
	var errs bytes.Buffer
	cmd := exec.Command(program, "-data", data, e.january)
	cmd.Stderr = &errs
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return f, err
	}
	ctx, stop := context.WithCancel(context.Background())
	most := make(chan float64, 1)
	go func() { most <- watchMemory(ctx, cmd.Process.Pid) }()
	err = cmd.Wait()
	f.rate = januaryCommands / time.Since(began).Seconds()
	stop()
	f.peak = <-most
	if err == nil && f.peak == 0 {
		err = errors.New("its memory could not be read from /proc")
	}
	if err != nil {
		return f, fmt.Errorf("flights: %w\n%s", err, &errs)
	}
	f.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return f, nil
}

// watchMemory gives the high-water mark of a process in megabytes, when ctx ends. The mark that wait reports would not do: it
// begins with that of the process that started it.
func watchMemory(ctx context.Context, pid int) (peak float64) {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for {
		peak = max(peak, highWater(pid))
		select {
		case <-ctx.Done():
			return peak
		case <-ticks.C:
		}
	}
}

func highWater(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kilobytes, 64)
	if err != nil {
		return 0
	}
	return n / 1024
}
