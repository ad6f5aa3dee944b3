package sim

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// send is one call of Send.
type send struct {
	proc    *proc
	starts  int // of the process
	id      uuid.UUID
	command decider
	key     string
	basis   *uint64
	receipt *cqrs.Receipt
	err     error
	ended   bool
	called  int64 // when; see moment
	heard   int64 // when its end was, 0: it was not
	t       uint64
	refused error
	dropped int // how often retention had dropped feedback before
}

var names = []string{"a", "b", "c", "d"}

func (w *World) anyName() string { return names[w.rng.IntN(len(names))] }

// anyCommand makes a command.
func (w *World) anyCommand() decider {
	a, b := w.anyName(), w.anyName()
	if w.refusing && w.toSend < 3*w.opts.commands()/2 && w.rng.IntN(8) > 0 {
		return odd{"a"}
	}
	switch w.rng.IntN(26) {
	case 0, 1, 2, 3:
		return open{a, "m" + w.anyName(), 10 * (1 + w.rng.IntN(10))}
	case 4, 5, 6:
		return move{a, b, w.rng.IntN(40)}
	case 7, 8:
		return pair{a, b, w.rng.IntN(60)}
	case 9, 10, 11:
		return count{a, 1 + w.rng.IntN(3)}
	case 12, 13:
		return edit{a, "note " + b}
	case 14:
		return sweep{}
	case 15:
		return nothing{}
	case 16, 17:
		return odd{a}
	case 18:
		return boom{a}
	case 19:
		return spoil{a}
	case 20:
		return invent{}
	case 21:
		return tell{a}
	case 22, 23:
		return fee1{a}
	case 24:
		return fare1{a}
	}
	return bounded{w.rng.IntN(14)}
}

// oneIn is how seldom something is sent again.
func (w *World) oneIn(usually, refusing int) int {
	if w.refusing {
		return refusing
	}
	return usually
}

func encode(c decider) []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// sendOne sends a command: a new one, one that was sent before, or another one under an id that was used. After an error it sends it
// again, or leaves it.
func (p *proc) sendOne() {
	w := p.w
	before := w.rng
	w.rng = w.orders
	s := p.newSend()
	w.rng = before
	for range 3 {
		p.sendTo(s)
		w.sends = append(w.sends, s)
		if s.err == nil || w.rng.IntN(3) == 0 {
			return
		}
		again := *s
		again.ended, again.err, again.receipt, again.heard = false, nil, nil, 0
		s = &again
		w.count("sent again after an error")
	}
}

func (p *proc) newSend() *send {
	w := p.w
	s := &send{command: w.anyCommand()}
	s.id, _ = w.newID()
	if n := len(w.sends) - w.oldSends; n > 0 && !p.rooted && w.rng.IntN(w.oneIn(8, 3)) == 0 {
		old := w.sends[w.oldSends+w.rng.IntN(n)]
		s.id, s.key = old.id, old.key
		if w.rng.IntN(3) > 0 {
			s.command, s.basis = old.command, old.basis
			w.count("sent twice")
		} else {
			w.count("other payload under the same id")
		}
		return s
	}
	if w.shards > 1 && w.rng.IntN(2) == 0 {
		s.key = w.anyName()
	}
	if p.sender {
		return s
	}
	switch t := p.rt.Shard(p.rt.ShardOf(s.place())).View().T(); {
	case p.rooted:
		s.command, s.basis = count{w.anyName(), 1}, &t
	case t > 0 && w.rng.IntN(4) == 0:
		basis := w.rng.Uint64N(t + 1)
		s.basis = &basis
	}
	return s
}

func (s *send) place() string {
	if s.key == "" {
		return string(s.id[:])
	}
	return s.key
}

func (p *proc) sendTo(s *send) {
	w := p.w
	s.proc, s.starts, s.dropped = p, p.starts, w.dropped
	options := []cqrs.SendOption{cqrs.WithID(s.id), cqrs.WithKey(s.key)}
	if s.basis != nil {
		options = append(options, cqrs.WithBasis(*s.basis))
	}
	w.note("send", s.id.String(), s.command.CommandType(), string(encode(s.command)))
	s.called = w.moment()
	s.receipt, s.err = p.rt.Send(context.Background(), s.command, options...)
	s.ended = true
	switch {
	case s.err == nil:
		w.count("sent")
		p.waiting = append(p.waiting, s)
	case errors.Is(s.err, cqrs.ErrUnknown):
		w.count("send of unknown outcome")
	case errors.Is(s.err, errNetwork):
		w.count("send refused")
	default:
		w.fault("2: Send gave an error of no known kind: %v", s.err)
	}
	if s.err != nil {
		w.note("sent", w.brief(s.err))
	}
}
