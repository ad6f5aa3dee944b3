package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
)

// state is a value of the model: what the aggregate must show at one t.
type state struct {
	accs   map[string]Account
	counts map[string]int
	wrote  map[string]uint64 // when a row was written last, by table and key
	failed map[string]failed // by t and index
}

type failed struct {
	T    uint64 `json:"t"`
	Type string `json:"type"`
}

func newState() *state {
	return &state{map[string]Account{}, map[string]int{}, map[string]uint64{}, map[string]failed{}}
}

func (s *state) clone() *state {
	return &state{maps.Clone(s.accs), maps.Clone(s.counts), maps.Clone(s.wrote), maps.Clone(s.failed)}
}

// shows tells whether these are the rows of the state.
func (s *state) shows(accs map[string]Account, counts map[string]int) bool {
	return maps.Equal(accs, s.accs) && maps.Equal(counts, s.counts)
}

// reading is a state that notes what is read.
type reading struct {
	*state
	seen map[string]bool
	all  bool // the whole table of accounts
}

func (r *reading) account(name string) (Account, bool) {
	r.see("account/" + name)
	a, ok := r.accs[name]
	return a, ok
}

func (r *reading) byMail(mail string) (Account, bool) {
	for _, a := range r.accs {
		if a.Mail == mail && mail != "" {
			return a, true
		}
	}
	return Account{}, false
}

func (r *reading) accounts() (list []Account) {
	r.all = true
	for _, name := range slices.Sorted(maps.Keys(r.accs)) {
		list = append(list, r.accs[name])
	}
	return list
}

func (r *reading) counter(name string) int {
	r.see("counter/" + name)
	return r.counts[name]
}

func (r *reading) see(row string) {
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	r.seen[row] = true
}

// changed tells whether something that was read has been written after basis.
func (r *reading) changed(now *state, basis uint64) bool {
	for row, t := range now.wrote {
		if t > basis && (r.seen[row] || r.all && row[:4] == "acco") {
			return true
		}
	}
	return false
}

// writing is a state that is written at t.
type writing struct {
	reading
	t uint64
}

var errTaken = errors.New("the mail is taken")

func (w *writing) put(a Account) error {
	if other, is := w.byMail(a.Mail); is && other.Name != a.Name {
		return errTaken
	}
	w.accs[a.Name] = a
	w.wrote["account/"+a.Name] = w.t
	return nil
}

func (w *writing) set(name string, n int) error {
	w.counts[name] = n
	w.wrote["counter/"+name] = w.t
	return nil
}

// deciding is what a decision may have beside the value.
type deciding struct {
	command uuid.UUID
	time    time.Time
	t       uint64
	n       int
	remarks []*cqrs.Error
}

func (d *deciding) NewID() uuid.UUID     { d.n++; return ids.Fresh(d.command, d.n-1) }
func (d *deciding) Time() time.Time      { return d.time }
func (d *deciding) T() uint64            { return d.t }
func (d *deciding) Remark(e *cqrs.Error) { d.remarks = append(d.remarks, e) }

func (d *deciding) Rand() *rand.Rand {
	var seed [32]byte
	copy(seed[:], d.command[:])
	copy(seed[16:], "cqrs decision v1")
	return rand.New(rand.NewChaCha8(seed))
}

// decision is how the model ends a command: with events, refused, or with a defect.
type decision struct {
	events  []cqrs.Event
	refused error
	defect  error
}

// decide decides a command at a state.
func decide(c decider, at *reading, d *deciding) (out decision) {
	defer func() {
		if p := recover(); p != nil {
			out = decision{defect: fmt.Errorf("panic: %v", p)}
		}
	}()
	events, err := c.decide(at, d)
	if err != nil {
		return decision{refused: err}
	}
	return decision{events: events}
}

// fold changes the state by an event at t, or leaves it as it is.
func (s *state) fold(e cqrs.Event, t uint64) (err error) {
	before := s.clone()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			*s = *before
		}
	}()
	return foldEvent(&writing{reading{state: s}, t}, e)
}

// decodeEvent reads an event of the program; nil when the program does not know its type.
func decodeEvent(typ string, data []byte) (cqrs.Event, error) {
	switch typ {
	case "opened":
		return into[opened](data)
	case "taken":
		return into[taken](data)
	case "given":
		return into[given](data)
	case "counted":
		return into[counted](data)
	case "edited":
		return into[edited](data)
	case "spoiled":
		return into[spoiled](data)
	case "made":
		return into[made](data)
	}
	return nil, nil
}

func into[E cqrs.Event](data []byte) (cqrs.Event, error) {
	var e E
	err := json.Unmarshal(data, &e)
	return e, err
}

// decodeCommand reads a command as a version of the code does.
func decodeCommand(typ, code string, data []byte) decider {
	for _, c := range allCommands(code) {
		if c.CommandType() == typ {
			return as(c, data)
		}
	}
	return nil
}

func as(c cqrs.Command, data []byte) decider {
	switch c.(type) {
	case open:
		return intoCommand[open](data)
	case move:
		return intoCommand[move](data)
	case pair:
		return intoCommand[pair](data)
	case count:
		return intoCommand[count](data)
	case edit:
		return intoCommand[edit](data)
	case sweep:
		return sweep{}
	case nothing:
		return nothing{}
	case odd:
		return intoCommand[odd](data)
	case boom:
		return intoCommand[boom](data)
	case spoil:
		return intoCommand[spoil](data)
	case invent:
		return invent{}
	case tell:
		return intoCommand[tell](data)
	case fee1:
		return intoCommand[fee1](data)
	case fee2:
		return intoCommand[fee2](data)
	case fare1:
		return intoCommand[fare1](data)
	case fare2:
		return intoCommand[fare2](data)
	}
	return intoCommand[bounded](data)
}

func intoCommand[C decider](data []byte) decider {
	var c C
	if json.Unmarshal(data, &c) != nil {
		return nil
	}
	return c
}

// consistencyOf is what a command type chose.
func consistencyOf(c decider) cqrs.Consistency {
	if own, ok := c.(interface{ Consistency() cqrs.Consistency }); ok {
		return own.Consistency()
	}
	return cqrs.Serializable
}
