package cqrs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Difference is one thing that is not as the log says: a decision that would come out otherwise (Audit), or something in the files that
// does not follow from the log (Scrub).
type Difference struct {
	Shard       int
	T           uint64    // the commit, or of a refused command the one that it would have been; 0: no certain one
	Command     uuid.UUID // the zero uuid when it is about no certain command
	CommandType string
	Event       int    // the event's index in its commit; -1 when it is about no certain event
	Table, Key  string // of a row, or an index entry; the key is as it is encoded
	What        string // what differs, in words
	Logged      []byte // as the log has it, or as it follows from the log; nil: nothing
	Found       []byte // as it is decided now, or as the files have it; nil: nothing
}

// String tells everything in one line, or in three when there are bytes to compare.
func (d Difference) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "shard %d", d.Shard)
	if d.T > 0 {
		fmt.Fprintf(&s, ", t %d", d.T)
	}
	if d.Command != (uuid.UUID{}) {
		fmt.Fprintf(&s, ", command %s", d.Command)
	}
	if d.CommandType != "" {
		fmt.Fprintf(&s, " (%s)", d.CommandType)
	}
	if d.Event >= 0 {
		fmt.Fprintf(&s, ", event %d", d.Event)
	}
	if d.Table != "" {
		fmt.Fprintf(&s, ", %s %.100q", d.Table, d.Key)
	}
	s.WriteString(": " + d.What)
	if d.Logged != nil || d.Found != nil {
		fmt.Fprintf(&s, "\n  logged %s\n  found  %s", shownBytes(d.Logged), shownBytes(d.Found))
	}
	return s.String()
}

func shownBytes(b []byte) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%.500q", b)
}

// maxDifferences are listed in a report; all are counted.
const maxDifferences = 100

// check is what Audit and Scrub have in common: they go through much in small steps, beside the work.
type check struct {
	rate     int
	found    func(Difference)
	progress func(done, of uint64)

	listed   []Difference
	count    uint64
	done, of uint64
	began    time.Time
	next     time.Time // when to tell of the progress
}

func newCheck(rate int, found func(Difference), progress func(done, of uint64)) check {
	now := time.Now()
	return check{rate: rate, found: found, progress: progress, began: now, next: now.Add(time.Second)}
}

func (c *check) differs(d Difference) {
	c.count++
	if len(c.listed) < maxDifferences {
		c.listed = append(c.listed, d)
	}
	if c.found != nil {
		c.found(d)
	}
}

// step is how many are taken at a time, at the most.
func (c *check) step() int {
	const most = 256
	if c.rate > 0 {
		return max(1, min(most, c.rate/4))
	}
	return most
}

// went notes that n more are done, tells of it, and waits when it goes faster than it should.
func (c *check) went(ctx context.Context, n int) error {
	c.done += uint64(n)
	if now := time.Now(); c.progress != nil && !now.Before(c.next) {
		c.next = now.Add(time.Second)
		c.progress(c.done, max(c.of, c.done))
	}
	if c.rate > 0 {
		due := c.began.Add(time.Duration(float64(c.done) / float64(c.rate) * float64(time.Second)))
		sleep(ctx, time.Until(due))
	}
	return ctx.Err()
}

func (c *check) ended() {
	if c.progress != nil {
		c.progress(c.done, c.done)
	}
}
