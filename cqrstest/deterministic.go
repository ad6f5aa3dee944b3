package cqrstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// CheckDeterministic fails the test when deciding a command again, or folding an event again, gives anything else than the first time. It
// lets the events happen, sends the commands, in this order, and then decides and folds all of it again: many times in the same process
// (so that the order of a map, or a random number, shows), at other times of the clock, and in another process, which has another id,
// host name (on Linux, where the system lets it), time zone, environment and number of threads. What comes out must be the same, byte for
// byte: the events, their order and ids, the errors of refused commands, and all rows and index entries. Each difference is reported
// with the command, the event or row, and both forms.
//
// The other process is the test's own binary, which is started with this test alone. Call it once in a test or subtest (which
// may have others beside it), not in a loop of one, nor inside synctest.Test.
//
// It finds only what the commands that it is given come to. Runtime.Audit and Runtime.Scrub do the same for the data of a program
// that runs.
func CheckDeterministic(t testing.TB, config cqrs.Config, happened []cqrs.Event, commands ...cqrs.Command) {
	t.Helper()
	real, _ := t.(*testing.T)
	c := checker{TB: t, real: real, where: caller()}
	c.check(config, happened, commands)
}

// caller says which call of CheckDeterministic it is: the other process has to find it.
func caller() string {
	_, file, line, _ := runtime.Caller(2)
	return fmt.Sprintf("%s:%d", file, line)
}

// checker is one check.
type checker struct {
	testing.TB
	real   *testing.T // nil when the test is something else: then the clock is not changed
	where  string
	config cqrs.Config
	dir    string
	sent   map[uuid.UUID]string // what the commands are, for the reports
	decide int                  // so many decisions there are to compare
}

const rounds = 100

func (c *checker) check(config cqrs.Config, happened []cqrs.Event, commands []cqrs.Command) {
	c.Helper()
	c.config = checkable(config)
	if order, ok := childOrder(); ok {
		order.obey(c)
		return
	}
	c.dir, c.sent = c.TempDir(), map[uuid.UUID]string{}
	c.happen(happened, commands)
	for _, again := range []func() finding{c.here, c.inAnotherProcess, c.atOtherTimes} {
		if c.Failed() || c.report(again()) {
			return
		}
	}
}

// checkable is the config with nothing that would keep a decision from being made again.
func checkable(config cqrs.Config) cqrs.Config {
	config.Commands = append(config.Commands[:len(config.Commands):len(config.Commands)], given{})
	config.KeepHistory, config.KeepFor, config.Retention, config.NoSync = 0, 0, -1, true
	config.Aggregates = nil
	return config
}

func (c *checker) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, prototypes{}, c.config.Events)
}

// happen has everything happen for the first time.
func (c *checker) happen(happened []cqrs.Event, commands []cqrs.Command) {
	c.Helper()
	rt, err := cqrs.Open(c.dir, c.config)
	if err != nil {
		c.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(c.context(context.Background())) }()
	defer func() {
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			c.Errorf("close: %v", err)
		}
	}()
	if len(happened) > 0 {
		commands = append([]cqrs.Command{newGiven(c, happened)}, commands...)
	}
	for _, command := range commands {
		c.send(rt, command)
	}
}

func (c *checker) send(rt *cqrs.Runtime, command cqrs.Command) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r, err := rt.Send(ctx, command)
	if err != nil {
		c.Fatal(err)
	}
	c.sent[r.ID] = fmt.Sprintf("%T%+v", command, command)
	_, err = r.Wait(ctx)
	e, failed := errors.AsType[*cqrs.Error](err)
	switch {
	case failed && e.Level == cqrs.User && e.Tag == "validation": // it does not come to a decision
	case err == nil, failed && e.Level == cqrs.User:
		c.decide++
	default:
		c.Fatalf("the command %s came to no decision that could be made again: %v", c.sent[r.ID], err)
	}
}

// finding is what came out otherwise.
type finding struct {
	Where       string
	Checked     int
	Differences []cqrs.Difference
	Err         string
}

func (c *checker) report(f finding) (bad bool) {
	c.Helper()
	if f.Err != "" {
		c.Errorf("%s: %s", f.Where, f.Err)
		return true
	}
	if f.Checked < c.decide && len(f.Differences) == 0 {
		c.Errorf("%s: of %d decisions only %d could be made again", f.Where, c.decide, f.Checked)
	}
	for i, d := range f.Differences {
		if i == 10 {
			c.Errorf("and %d more", len(f.Differences)-i)
			break
		}
		about := ""
		if sent, ok := c.sent[d.Command]; ok {
			about = ", " + sent
		}
		c.Errorf("not deterministic: done again %s%s, it comes out otherwise:\n%s", f.Where, about, d)
	}
	return len(f.Differences) > 0
}

// here does everything again in this process, until something differs.
func (c *checker) here() finding {
	return c.again(context.Background(), "in the same process", rounds, func(int) {})
}

// inAnotherProcess does everything again in another process.
func (c *checker) inAnotherProcess() finding { return c.ask(order{}) }

// atOtherTimes does everything again at other times. The clock can be set only for a whole process's files, so it takes another one too.
func (c *checker) atOtherTimes() finding {
	if c.real == nil {
		c.Logf("a %T is no *testing.T: nothing was done again at another time of the clock", c.TB)
		return finding{Checked: c.decide}
	}
	return c.ask(order{Clock: true})
}

// inOtherYears does everything again in other years, on other days of the week and at other times of the day.
func (c *checker) inOtherYears() (f finding) {
	synctest.Test(c.real, func(t *testing.T) {
		f = c.again(t.Context(), "at another time of the clock", 3, func(round int) {
			time.Sleep(time.Duration(round) * (400*24*time.Hour + 5*time.Hour + 7*time.Minute + 11*time.Second))
		})
	})
	return f
}

// elsewhere does everything again where as much as possible is different.
func (c *checker) elsewhere(o order) finding {
	_, offset := time.Now().Zone()
	time.Local = time.FixedZone("ELSE", offset-int((3*time.Hour+17*time.Minute).Seconds()))
	if space := hostSpace(); space != "" && o.Host != "" && space != o.Host { // never the real host
		renameHost("elsewhere")
	}
	return c.again(context.Background(), "in another process", 1, func(int) {})
}

// again decides and folds everything again, so many times.
func (c *checker) again(ctx context.Context, where string, rounds int, before func(round int)) finding {
	f := finding{Where: where}
	rt, err := cqrs.Open(c.dir, c.config)
	if err != nil {
		f.Err = err.Error()
		return f
	}
	for round := 0; round < rounds && err == nil && len(f.Differences) == 0; round++ {
		before(round)
		err = f.compare(c.context(ctx), rt)
	}
	if err := errors.Join(err, rt.Close()); err != nil {
		f.Err = err.Error()
	}
	return f
}

func (f *finding) compare(ctx context.Context, rt *cqrs.Runtime) error {
	found := func(d cqrs.Difference) { f.Differences = append(f.Differences, d) }
	audit, err := rt.Audit(ctx, cqrs.AuditOptions{Found: found})
	f.Checked = int(audit.Checked)
	if err != nil || len(f.Differences) > 0 {
		return err
	}
	_, err = rt.Scrub(ctx, cqrs.ScrubOptions{Tables: true, Found: found})
	return err
}

// order says what the other process has to do. It is in its environment.
type order struct {
	Test, Where, Dir, Answer string
	Host                     string // the name space of the first process's host name
	Clock                    bool   // it is about the clock
}

const orderVariable = "CQRSTEST_DETERMINISTIC"

// childOrder tells whether this is the other process.
func childOrder() (o order, ok bool) {
	text, ok := os.LookupEnv(orderVariable)
	if !ok {
		return o, false
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(fmt.Sprintf("%s is set to what no test made: %v", orderVariable, err))
	}
	return o, true
}

// obey does everything again, in the other process, when the call is the right one.
func (o order) obey(c *checker) {
	if c.Name() != o.Test || c.where != o.Where {
		return
	}
	var f finding
	if c.dir = o.Dir; o.Clock {
		f = c.inOtherYears()
	} else {
		f = c.elsewhere(o)
	}
	answer, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(o.Answer, answer, 0o600)
	}
	if err != nil {
		c.Fatal(err)
	}
	c.SkipNow() // what comes behind is the first process's
}
