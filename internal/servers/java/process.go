package java

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Process is a running server. It dies with the process that started it, where the system can do that.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // how it ended; valid when done is closed
}

// Args are the arguments for java that all servers have in common: modest in memory and quick to start.
func Args(libs string, more ...string) []string {
	args := []string{"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(libs, "*")}
	return append(args, more...)
}

// Start runs java. What it prints is appended to the file log.
func Start(log string, args ...string) (*Process, error) {
	if err := Find("java"); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &Process{cmd: exec.Command("java", args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start java: %w", err)
	}
	return p, nil
}

// run keeps its thread: the system takes the end of the thread that started a process for the end of its parent.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// Kill ends it at once, as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Stop asks it to end, and kills it when that takes longer than the patience.
func (p *Process) Stop(patience time.Duration) {
	terminate(p.cmd.Process)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
	}
}

// Pause stops it where it is, as a long garbage collection or a cut network would, until Resume.
func (p *Process) Pause() error { return pause(p.cmd.Process) }

// Resume lets it go on after Pause.
func (p *Process) Resume() error { return resume(p.cmd.Process) }

// Wait waits until it has ended, and tells what went wrong.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		if p.err != nil {
			return p.ended()
		}
		return nil
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
}

// Ready waits until probe succeeds. It fails when the process ends, or with ctx.
func (p *Process) Ready(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("it does not answer (%w; %w): %s", err, ctx.Err(), p.Log())
		case <-tick.C:
		}
	}
}

// ended says why it has ended by itself.
func (p *Process) ended() error {
	log := p.Log()
	if strings.Contains(log, "UnsupportedClassVersionError") {
		return fmt.Errorf("Java 17 or later is %w, an older one is: %s", ErrMissing, log)
	}
	return fmt.Errorf("it ended (%v): %s", p.err, log)
}

// Log is the end of what it has printed.
func (p *Process) Log() string {
	out, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return tail(out)
}

// FreePorts finds ports that nobody listens on.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // not before all are found, so that they differ
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
