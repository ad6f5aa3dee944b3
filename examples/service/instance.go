package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

// instance is a process of this program.
type instance struct {
	number int
	args   []string
	log    string // file
	cmd    *exec.Cmd
	gone   chan error
}

func newInstance(number int, on servers.Flags, dir string) *instance {
	name := filepath.Join(dir, fmt.Sprint("instance-", number))
	args := append(on.Args(), "-addr", "127.0.0.1:0", "-data", name)
	return &instance{number: number, args: args, log: name + ".log"}
}

// start starts the process, and gives its address when it answers.
func (i *instance) start() (url string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	log, err := os.OpenFile(i.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	i.cmd = exec.Command(program, i.args...)
	i.cmd.Stderr = log
	out, err := i.cmd.StdoutPipe()
	if err == nil {
		err = i.cmd.Start()
	}
	if err != nil {
		return "", err
	}
	text := bufio.NewReader(out)
	line, err := text.ReadString('\n')
	i.gone = make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, text)
		i.gone <- i.cmd.Wait()
	}()
	if _, url, _ = strings.Cut(strings.TrimSpace(line), "listening on "); url == "" {
		return "", errors.Join(fmt.Errorf("instance %d has not come up: %s", i.number, i.lastWords()), err)
	}
	return url, nil
}

func (i *instance) lastWords() string {
	b, _ := os.ReadFile(i.log)
	return string(b[max(0, len(b)-2000):])
}

// kill ends the process as a power cut would.
func (i *instance) kill() {
	if i.cmd != nil && i.gone != nil {
		_ = i.cmd.Process.Kill() // it may have gone
		<-i.gone
		i.gone = nil
	}
}

// stop ends the process in order.
func (i *instance) stop() error {
	if i.gone == nil {
		return nil
	}
	err := i.cmd.Process.Signal(syscall.SIGTERM)
	if err == nil {
		err = <-i.gone
		i.gone = nil
	}
	if err != nil {
		return fmt.Errorf("instance %d was told to end: %w: %s", i.number, err, i.lastWords())
	}
	return nil
}
