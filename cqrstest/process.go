package cqrstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// ask has another process do everything again: the test's own binary, with this test alone.
func (c *checker) ask(o order) finding {
	f := finding{Where: "in another process"}
	fail := func(format string, args ...any) finding { f.Err = fmt.Sprintf(format, args...); return f }
	binary, err := os.Executable()
	if err != nil {
		return fail("the test's binary is not known: %v", err)
	}
	o.Test, o.Where, o.Dir, o.Host, o.Answer = c.Name(), c.where, c.dir, hostSpace(), filepath.Join(c.TempDir(), "answer")
	answer, out, err := o.run(binary, otherHost)
	if err != nil {
		answer, out, err = o.run(binary, func(*exec.Cmd) {}) // the system may not let it have another host name
	}
	if err != nil {
		return fail("the test %q was started there, and did not come to this call of CheckDeterministic (%v):\n%s", o.Test, err, out)
	}
	if err := json.Unmarshal(answer, &f); err != nil {
		return fail("%v", err)
	}
	return f
}

// run starts the other process, and gives its answer.
func (o order) run(binary string, prepare func(*exec.Cmd)) (answer, out []byte, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run="+pattern(o.Test), "-test.count=1", "-test.timeout="+(2*Patience).String())
	cmd.Env = append(os.Environ(), orderVariable+"="+string(text), "HOSTNAME=elsewhere", "USER=nobody", "LOGNAME=nobody",
		fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0)+1))
	cmd.WaitDelay = 5 * time.Second
	prepare(cmd)
	out, runErr := cmd.CombinedOutput()
	if answer, err = os.ReadFile(o.Answer); err != nil {
		err = errors.Join(err, runErr)
	}
	return answer, out, err // how the test ended there otherwise does not matter
}

// pattern has the test, and no other, run.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	return strings.Join(parts, "/")
}
