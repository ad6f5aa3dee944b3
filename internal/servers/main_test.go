package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/dynamoserver"
	"github.com/cqrs-server/cqrs/internal/servers/java"
	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
)

// brokerLike answers as a broker does when it is asked which requests it knows.
func brokerLike(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.CopyN(io.Discard, c, 4)
			c.Write([]byte{0, 0, 0, 6, 0, 0, 0, 1, 0, 0})
			c.Close()
		}
	}()
	return l.Addr().String()
}

// given has the environment name servers that are there.
func given(t *testing.T) (kafka, dynamo string) {
	web := httptest.NewServer(nil)
	t.Cleanup(web.Close)
	kafka, dynamo = brokerLike(t), web.URL
	t.Setenv("CQRS_KAFKA", kafka)
	t.Setenv("CQRS_DYNAMODB", dynamo)
	return kafka, dynamo
}

func TestCommandAndItsExitCode(t *testing.T) {
	kafka, dynamo := given(t)
	out := filepath.Join(t.TempDir(), "out")
	for _, want := range []int{0, 7} {
		script := fmt.Sprintf(`echo "$CQRS_KAFKA $CQRS_DYNAMODB $1" > %s; exit %d`, out, want)
		code, err := run(t.Context(), []string{"sh", "-c", script, "sh", "an argument"})
		if code != want || err != nil {
			t.Errorf("code %d (%v), and %d was expected", code, err, want)
		}
		got, err := os.ReadFile(out)
		if want := fmt.Sprintln(kafka, dynamo, "an argument"); string(got) != want {
			t.Errorf("the command saw %q (%v), and %q was expected", got, err, want)
		}
	}
	if code, err := run(t.Context(), []string{"no-such-command"}); code != 127 || err == nil {
		t.Errorf("a command that is not there: %d, %v", code, err)
	}
}

func TestCommandIsEndedWithUs(t *testing.T) {
	given(t)
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Setenv("READY", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), w.Fd()))
	go func() {
		bufio.NewReader(r).ReadString('\n')
		cancel()
	}()
	code, err := run(ctx, []string{"sh", "-c", `trap 'exit 5' TERM; echo > "$READY"; while :; do sleep 0.05; done`})
	if code == 0 || !errors.Is(err, context.Canceled) || time.Since(began) > 8*time.Second {
		t.Errorf("code %d after %v: %v", code, time.Since(began), err)
	}
}

func TestGivenServerIsNotThere(t *testing.T) {
	_, dynamo := given(t)
	t.Setenv("CQRS_KAFKA", "127.0.0.1:1")
	t.Setenv("CQRS_DYNAMODB", dynamo)
	code, err := run(t.Context(), []string{"true"})
	if code == 0 || err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "CQRS_KAFKA") {
		t.Errorf("%d, %v", code, err)
	}
}

func TestWithoutJava(t *testing.T) {
	t.Setenv("CQRS_KAFKA", "")
	t.Setenv("CQRS_DYNAMODB", "")
	t.Setenv("PATH", t.TempDir())
	code, err := run(t.Context(), []string{"true"})
	if code == 0 || !errors.Is(err, java.ErrMissing) || !strings.Contains(err.Error(), "openjdk-17-jre-headless") {
		t.Errorf("%d, %v", code, err)
	}
}

// binary is this command, built.
func binary(t *testing.T) string {
	if os.Getenv(kafkaserver.Home) == "" || os.Getenv(dynamoserver.Home) == "" {
		t.Skipf("it starts real servers: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (%s is not set)", kafkaserver.Home)
	}
	t.Setenv("CQRS_KAFKA", "")
	t.Setenv("CQRS_DYNAMODB", "")
	path := filepath.Join(t.TempDir(), "servers")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func answers(kafka, dynamo string) (bool, bool) {
	ctx := context.Background()
	return kafkaserver.Answers(ctx, kafka) == nil, dynamoserver.Answers(ctx, dynamo) == nil
}

func TestStartsAndStops(t *testing.T) {
	out, err := exec.Command(binary(t), "--", "sh", "-c", `echo $CQRS_KAFKA $CQRS_DYNAMODB; exit 7`).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("want exit code 7: %v", err)
	}
	var kafka, dynamo string
	if _, err := fmt.Sscan(string(out), &kafka, &dynamo); err != nil {
		t.Fatal(err)
	}
	if k, d := answers(kafka, dynamo); k || d {
		t.Error("a server still runs")
	}
}

// However it is ended, it leaves no server behind.
func TestEnded(t *testing.T) {
	path := binary(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			if signal == syscall.SIGKILL && runtime.GOOS != "linux" {
				t.Skip("only Linux ends the children of a process that was killed")
			}
			cmd := exec.Command(path, "--", "sh", "-c", `echo $CQRS_KAFKA $CQRS_DYNAMODB; exec sleep 600`)
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // what is killed does not clean up
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			said := new(strings.Builder)
			cmd.Stderr = said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var kafka, dynamo string
			if _, err := fmt.Fscan(stdout, &kafka, &dynamo); err != nil {
				t.Fatalf("%v (%v): %s", err, cmd.Wait(), said)
			}
			if k, d := answers(kafka, dynamo); !k || !d {
				t.Error("a server does not answer")
			}
			cmd.Process.Signal(signal)
			defer time.AfterFunc(20*time.Second, func() { stdout.Close() }).Stop()
			io.Copy(io.Discard, stdout) // until the command has gone, too
			if err := cmd.Wait(); err == nil {
				t.Error("it says that all was well")
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
				k, d := answers(kafka, dynamo)
				if !k && !d {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("a server still runs")
				}
			}
		})
	}
}
