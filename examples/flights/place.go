package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// place is how far the stream was sent. It may lag behind: commands that are sent twice have no second effect.
type place struct {
	path  string
	File  string `json:"file"`
	Lines int    `json:"lines"`
}

func openPlace(path, file string) *place {
	p := &place{}
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, p) != nil || p.File != file || file == "-" {
		p = &place{File: file} // sending all of it again is slower, and right
	}
	p.path = path
	return p
}

func (p *place) advance(lines int) error {
	p.Lines += lines
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(p.path+".new", p.path)
}

// progress shows how many commands were sent, and at what rate.
type progress struct {
	out          io.Writer
	start, shown time.Time
	before, sent int
	refused      int
}

func newProgress(out io.Writer, before int) *progress {
	now := time.Now()
	return &progress{out: out, start: now, shown: now, before: before}
}

func (p *progress) add(n, refused int) {
	p.sent += n
	p.refused += refused
	if now := time.Now(); now.Sub(p.shown) >= time.Second {
		p.shown = now
		p.show("\r")
	}
}

func (p *progress) show(lead string) {
	rate := float64(p.sent) / max(time.Since(p.start).Seconds(), 1e-9)
	fmt.Fprintf(p.out, "%s%d commands, %.0f a second, %d refused ", lead, p.before+p.sent, rate, p.refused)
}

func (p *progress) end() {
	p.show("\r")
	fmt.Fprintln(p.out)
}
