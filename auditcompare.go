package cqrs

import (
	"fmt"

	"github.com/cqrs-server/cqrs/store"
)

// compared counts a command.
func (s *auditShard) compared(list []Difference) {
	s.report.Checked++
	if len(list) == 0 {
		s.report.Same++
		return
	}
	s.report.Different++
	for _, d := range list {
		s.differs(d)
	}
}

func (s *auditShard) about(c *command, t uint64, what string, logged, found []byte) Difference {
	return Difference{Shard: s.shard.n, T: t, Command: c.ID, CommandType: c.Type, Event: -1, What: what, Logged: logged, Found: found}
}

// differences lists what differs between a record of the log and the one that is decided now. The code's version is no part of it.
func (s *auditShard) differences(c *command, logged, now *store.Record) (list []Difference) {
	for i := range max(len(logged.Events), len(now.Events)) {
		if d := s.eventDiffers(c, logged, now, i); d.What != "" {
			list = append(list, d)
		}
	}
	if string(logged.Remarks) != string(now.Remarks) {
		list = append(list, s.about(c, logged.T, "what it tells the sender beside the events", logged.Remarks, now.Remarks))
	}
	a, b := *logged, *now
	a.Events, a.Remarks, a.Code = nil, nil, ""
	b.Events, b.Remarks, b.Code = nil, nil, ""
	if c.typ.consistency == AsOfBasis { // it names the log that it follows when its basis was in the same batch
		a.Prev, b.Prev = nil, nil
	}
	if x, y := a.Append(nil), b.Append(nil); string(x) != string(y) {
		list = append(list, s.about(c, logged.T, "its record differs outside the events: the basis, the trace, or what it rests on", x, y))
	}
	return list
}

// eventDiffers compares the events at index i; What is empty when they are the same.
func (s *auditShard) eventDiffers(c *command, logged, now *store.Record, i int) Difference {
	d := s.about(c, logged.T, "", nil, nil)
	d.Event = i
	switch {
	case i >= len(now.Events):
		d.What, d.Logged = "a "+logged.Events[i].Type+" is no longer decided", logged.Events[i].Data
		return d
	case i >= len(logged.Events):
		d.What, d.Found = "a "+now.Events[i].Type+" is decided besides", now.Events[i].Data
		return d
	}
	a, b := &logged.Events[i], &now.Events[i]
	d.Logged, d.Found = a.Data, b.Data
	switch {
	case a.Type != b.Type:
		d.What = fmt.Sprintf("a %s became a %s", a.Type, b.Type)
	case a.ID != b.ID:
		d.What = fmt.Sprintf("the id of the %s: its segment %q became %q", a.Type, a.Segment, b.Segment)
	case string(a.Data) != string(b.Data):
		d.What = "the data of the " + a.Type
	}
	return d
}
