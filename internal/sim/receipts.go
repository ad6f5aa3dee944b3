package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs"
)

// checkReceipts looks whether those who wait for the end of a command hear of it, and hear what the log says (invariants 1 and 14).
func (w *World) checkReceipts() {
	for _, s := range w.sends {
		if len(w.faults) == 0 && s.err == nil && s.proc.up && s.starts == s.proc.starts {
			w.ledgers[s.receipt.Shard].checkReceipt(s)
		}
	}
}

// patience is real time: it is waited for only where somebody waits for ever.
func (w *World) patience() time.Duration {
	if w.opts.hurry {
		return 50 * time.Millisecond
	}
	return 2 * time.Second
}

func (l *ledger) checkReceipt(s *send) {
	w := l.w
	ctx, cancel := context.WithTimeout(context.Background(), w.patience())
	defer cancel()
	if s.dropped < w.dropped { // what the queue said of it was dropped before anybody asked
		return
	}
	out, err := s.receipt.Wait(ctx)
	refused, isError := errors.AsType[*cqrs.Error](err)
	at, accepted := l.byID[s.id]
	accepted = accepted && l.accepted[at-1].Payload == s.payload(l)
	switch {
	case err == nil && (!accepted || out.T != at):
		w.fault("14: who waits for command %s (%s) in process %d hears that it was accepted at t %d, and the log says %d (%v)",
			s.id, s.command.CommandType(), s.proc.n, out.T, at, accepted)
	case err == nil:
		w.count("receipt: accepted")
		l.checkOutcomeOf(s, &out)
	case isError:
		w.count("receipt: " + refused.Tag)
		if accepted && refused.Level != cqrs.Dev && refused.Tag != "basis" {
			w.fault("14: who waits for command %s (%s) in process %d hears that it was refused (%v), and it was accepted at t %d",
				s.id, s.command.CommandType(), s.proc.n, err, at)
		}
	default:
		w.fault("1: who waits for command %s (%s) in process %d does not hear how it ended: %v", s.id, s.command.CommandType(), s.proc.n, err)
	}
}

// payload is the digest of what was sent.
func (s *send) payload(*ledger) [16]byte {
	r := request{typ: s.command.CommandType(), key: s.key, data: encode(s.command)}
	r.sum()
	return r.payload
}

func (l *ledger) checkOutcomeOf(s *send, out *cqrs.Outcome) {
	record := &l.accepted[out.T-1]
	if s.proc.sender && l.w.archive == nil && len(out.Events) == 0 && out.Repeat {
		return // it can't look the events up
	}
	if len(out.Events) != len(record.Events) {
		l.w.fault("7: who waits for command %s hears of %d events, and there are %d", s.id, len(out.Events), len(record.Events))
		return
	}
	for i := range out.Events {
		if e := &record.Events[i]; out.Events[i].Event.ID != e.ID || !bytes.Equal(out.Events[i].Data, e.Data) {
			l.w.fault("7: who waits for command %s hears of event %d: %s, and it is %s", s.id, i, out.Events[i].Data, e.Data)
		}
	}
}

// checkFeedback reads the feedback queues as a program does: of each command all events or none.
func (w *World) checkFeedback() {
	for shard := range w.shards {
		l, p := w.ledgers[shard], w.broker.part(feedbackTopic, shard)
		if p.end() == p.start {
			continue
		}
		for f, err := range w.procs[0].rt.Feedback(context.Background(), shard, p.start) {
			if err == nil {
				l.checkHeard(&f)
			}
			if f.Offset+1 >= p.end() || f.Offset < 0 {
				break
			}
		}
	}
}

func (l *ledger) checkHeard(f *cqrs.Feedback) {
	if f.Err != nil || f.Repeat || l.byID[f.Command] != f.T {
		return
	}
	if want := l.accepted[f.T-1].Events; len(f.Events) != len(want) && !l.cutOff(f) {
		l.w.fault("7: the feedback at offset %d tells of t %d with %s, and there are %d", f.Offset, f.T, events(len(f.Events)), len(want))
	}
}

func events(n int) string { return fmt.Sprintf("%d events", n) }

// cutOff tells that retention has dropped the first events of what was told.
func (l *ledger) cutOff(f *cqrs.Feedback) bool {
	return f.Offset-l.w.broker.part(feedbackTopic, l.shard).start < int64(len(l.accepted[f.T-1].Events))
}
