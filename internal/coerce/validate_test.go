package coerce

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

type period struct {
	From int `json:"from"`
	To   int `json:"to" validate:"gtefield=From"`
	//lint:ignore U1000 it is here to be passed over
	ran *int
}

func (p period) Validate() error {
	if p.To == 13 {
		panic(errors.New("thirteen"))
	}
	if p.From > p.To {
		return errors.Join(errors.New("it ends before it begins"), errors.New("and so on"))
	}
	if p.From < 0 {
		return fmt.Errorf("a period with %w and %w", errors.New("one"), errors.New("two"))
	}
	return nil
}

func TestValidateMethod(t *testing.T) {
	sameFaults[period](t, `{"from":5,"to":3}`, "to breaks the rule gtefield=From", "it ends before it begins", "and so on")
	sameFaults[period](t, `{"from":-5,"to":3}`, "a period with one and two")
	// A value that could not be read is not validated: neither by Validate, nor by rules that compare with it.
	sameFaults[period](t, `{"from":5,"to":"x"}`, `to is "x", which is no whole number`)
	sameFaults[period](t, `{"from":"x","to":-1}`, `from is "x", which is no whole number`)
	if got := mustNew[period](t, `{"from":1,"to":3}`); got != (period{From: 1, To: 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestPanicIsNoFault(t *testing.T) {
	p := mustCompile[period](t)
	made, err := p.New([]byte(`{"to":13}`))
	panicked, ok := err.(*PanicError)
	if !ok || made != nil || panicked.Value.(error).Error() != "thirteen" || !strings.Contains(string(panicked.Stack), "Validate") {
		t.Fatalf("got %v and %#v", made, err)
	}
	if panicked.Error() != "reading a coerce.period panicked: thirteen" || errors.Unwrap(err) == nil {
		t.Errorf("got %v", err)
	}
	if _, err := p.New([]byte(`{"to":14}`)); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

type cleaned struct {
	Name string
	self *cleaned
}

func (c *cleaned) Validate() error {
	c.Name, c.self = strings.TrimSpace(c.Name), c
	return nil
}

func TestValidateOfAPointer(t *testing.T) {
	p := mustCompile[cleaned](t)
	a, _ := p.New([]byte(`{"Name":" a "}`))
	_, _ = p.New([]byte(`{"Name":" b "}`))
	if got := a.(cleaned); got.Name != "a" || got.self.Name != "a" {
		t.Errorf("got %+v: the value was used again although its address was kept", got)
	}
	made, err := mustCompile[*cleaned](t).New([]byte(`{"Name":" c "}`))
	if got := made.(*cleaned); err != nil || got.self != got || got.Name != "c" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A rule on what holds a value that could not be read says nothing.
func TestRulesNearAFaultAreSilent(t *testing.T) {
	type holder struct {
		A struct {
			N int `json:"n" validate:"required"`
		} `json:"a" validate:"required"`
		AB int `json:"ab" validate:"required"`
	}
	sameFaults[holder](t, `{"a":{"n":"x"}}`, `a.n is "x", which is no whole number`, "ab is required, and 0 counts as nothing")
	sameFaults[holder](t, `{"a":1}`, `a is 1, which is no object`, "ab is required, and 0 counts as nothing")
}

func TestRuleTexts(t *testing.T) {
	type rules struct {
		Len    []int          `validate:"len=2"`
		Email  string         `validate:"email"`
		Eq     int            `validate:"eq=3"`
		Ne     string         `validate:"ne="`
		Gt     int            `validate:"gt=3"`
		Uniq   []int          `validate:"unique"`
		Alpha  string         `validate:"alpha"`
		Starts string         `validate:"startswith=a"`
		Map    map[string]int `validate:"dive,max=3"`
		Yes    bool           `validate:"required"`
		Ptr    *int           `validate:"required"`
	}
	sameFaults[rules](t, `{"Len":[],"Email":"x","Uniq":[1,1],"Alpha":"1","Map":{"k":4}}`,
		"Len must have exactly 2 elements", "Email must be a valid email", "Eq must be 3", "Ne must not be ", "Gt must be more than 3",
		"Uniq must not hold the same twice", "Alpha breaks the rule alpha", "Starts breaks the rule startswith=a", "Map[k] must be at most 3",
		"Yes is required, and false counts as nothing", "Ptr is required")
}
