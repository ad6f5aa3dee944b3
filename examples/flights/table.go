package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// figures is a carrier's row in the form of the -expect file; a figure that is 0 may be absent there.
type figures struct {
	Scheduled    int `json:"scheduled,omitempty"`
	Departed     int `json:"departed,omitempty"`
	Landed       int `json:"landed,omitempty"`
	Cancelled    int `json:"cancelled,omitempty"`
	Late         int `json:"late,omitempty"`
	DelayMinutes int `json:"delay_minutes,omitempty"`
	Miles        int `json:"miles,omitempty"`
	AirMinutes   int `json:"air_minutes,omitempty"`
}

func figuresOf(w world) (map[string]figures, error) {
	carriers, err := w.carriers()
	all := map[string]figures{}
	for _, c := range carriers {
		all[c.Code] = figures{c.Scheduled, c.Departed, c.Landed, c.Cancelled, c.Late, c.DelayMinutes, c.Miles, c.AirMinutes}
	}
	return all, err
}

func printTable(out io.Writer, world world) error {
	carriers, err := world.carriers()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "carrier\tscheduled\tdeparted\tlanded\tcancelled\tlate\tdelay min\tmiles\tair min\t")
	for _, c := range carriers {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			c.Code, c.Scheduled, c.Departed, c.Landed, c.Cancelled, c.Late, c.DelayMinutes, c.Miles, c.AirMinutes)
	}
	return w.Flush()
}

// compare names every difference to the expected figures.
func compare(out io.Writer, w world, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var want struct {
		Carriers map[string]figures `json:"carriers"`
	}
	if err := json.Unmarshal(b, &want); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	got, err := figuresOf(w)
	if err != nil {
		return err
	}
	n := differences(out, got, want.Carriers)
	if n > 0 {
		return fmt.Errorf("%d carriers differ from %s", n, file)
	}
	fmt.Fprintf(out, "as expected: %d carriers\n", len(got))
	return nil
}

func differences(out io.Writer, got, want map[string]figures) (n int) {
	codes := maps.Clone(got)
	maps.Copy(codes, want)
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if got[code] != want[code] {
			n++
			fmt.Fprintf(out, "carrier %s: got %+v, wanted %+v\n", code, got[code], want[code])
		}
	}
	return n
}
