package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"
)

// modelCommand is a line of the slice, read without the library.
type modelCommand struct {
	Type string
	Time int64
	Data map[string]string
}

func (c *modelCommand) number(key string) int { n, _ := strconv.Atoi(c.Data[key]); return n }

func (c *modelCommand) moment(t *testing.T, key string) int64 {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.0", c.Data[key])
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// sliceCommands reads the slice.
func sliceCommands(t *testing.T) (all []modelCommand) {
	t.Helper()
	s, err := openStream(slice, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		line, err := s.lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all
		}
		var c modelCommand
		if err := errors.Join(err, json.Unmarshal(line, &c)); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
}

// until is the commands before the first one that is later than the instant.
func until(all []modelCommand, instant time.Time) []modelCommand {
	n := slices.IndexFunc(all, func(c modelCommand) bool { return c.Time > instant.UnixMilli() })
	if n < 0 {
		return all
	}
	return all[:n]
}

// modelFlights is the table of flights after these commands, all of which are accepted.
func modelFlights(t *testing.T, commands []modelCommand) map[string]Flight {
	t.Helper()
	all := map[string]Flight{}
	for _, c := range commands {
		id := c.Data["flight"]
		f := all[id]
		switch c.Type {
		case "flight/schedule":
			f = Flight{ID: id, Carrier: c.Data["carrier"], Origin: c.Data["origin"], Dest: c.Data["dest"], Tail: c.Data["tail"],
				Departure: c.moment(t, "departure"), State: scheduled}
		case "flight/depart":
			f.State, f.Delay = departed, c.number("delay")
		case "flight/land":
			f.State = landed
		case "flight/cancel":
			f.State = cancelled
		}
		all[id] = f
	}
	return all
}

// where gives the flights that pass, in the order of what by says, and then of their keys.
func where(flights map[string]Flight, pass func(Flight) bool, by func(Flight) int64) (list []Flight) {
	for _, f := range flights {
		if pass(f) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b Flight) int { return cmp.Or(cmp.Compare(by(a), by(b)), cmp.Compare(a.ID, b.ID)) })
	return list
}

// modelPlanes computes the chains from the list of each aircraft's departures.
func modelPlanes(t *testing.T, commands []modelCommand) map[string]Plane {
	t.Helper()
	departures, flights := map[string][]modelCommand{}, modelFlights(t, commands)
	for _, c := range commands {
		if tail := flights[c.Data["flight"]].Tail; c.Type == "flight/depart" && tail != "" {
			departures[tail] = append(departures[tail], c)
		}
	}
	planes := map[string]Plane{}
	for tail, list := range departures {
		p := Plane{Tail: tail, Departures: len(list)}
		for begin := range list {
			end := begin
			for end < len(list) && list[end].number("delay") > 15 {
				end++
			}
			c := modelChain(t, list[begin:end], flights)
			if c.Length > p.Longest.Length {
				p.Longest = c
			}
			if end == len(list) && c.Length > p.Current.Length {
				p.Current = c
			}
		}
		planes[tail] = p
	}
	return planes
}

func modelChain(t *testing.T, list []modelCommand, flights map[string]Flight) (c Chain) {
	t.Helper()
	for i, d := range list {
		c.Length++
		c.Minutes += d.number("delay")
		c.To = d.moment(t, "at")
		if i == 0 {
			c.From, c.Where = c.To, flights[d.Data["flight"]].Origin
		}
	}
	return c
}

// modelLongest is the n longest chains.
func modelLongest(planes map[string]Plane, n int) (list []Plane) {
	for _, p := range planes {
		if p.Longest.Length > 0 {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Plane) int {
		return cmp.Or(cmp.Compare(b.Longest.Length, a.Longest.Length), cmp.Compare(b.Longest.Minutes, a.Longest.Minutes),
			cmp.Compare(a.Tail, b.Tail))
	})
	return list[:min(n, len(list))]
}
