// Command servers runs a command with real servers at hand: Apache Kafka and DynamoDB Local.
//
//	go run ./internal/servers -- go test ./...
//
// It starts one of each on free ports, with data in a temporary folder, waits until they answer, runs the command, stops
// them, and ends with the command's exit code. The command finds them by its environment:
//
//	CQRS_KAFKA          host:port of the broker
//	CQRS_DYNAMODB       URL of DynamoDB Local; it takes any credentials and any region
//	CQRS_KAFKA_HOME     folder with the broker's jars, for tests that run brokers of their own (package kafkaserver)
//	CQRS_DYNAMODB_HOME  the same for DynamoDB Local (package dynamoserver)
//
// A server whose address is in the environment already is used as it is, and not stopped. The servers need Java 17 and,
// the first time, Maven, which fetches them into $CQRS_CACHE (.cache/servers of the project by default). compose.yaml runs the
// same servers where Docker is at hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/java"
)

const usage = `usage: go run ./internal/servers -- COMMAND [ARGUMENT...]

Runs COMMAND with Kafka and DynamoDB Local at hand: CQRS_KAFKA and CQRS_DYNAMODB in its environment say where.
`

const withoutJava = `
The servers can be had in three ways:
  - Java 17 and Maven:  apt-get install openjdk-17-jre-headless maven
  - Docker:             docker compose -f internal/servers/compose.yaml up -d --wait
                        export CQRS_KAFKA=localhost:9092 CQRS_DYNAMODB=http://localhost:8000
  - servers you have:   set CQRS_KAFKA=host:port and CQRS_DYNAMODB=http://host:port
Without them, go test ./... runs the tests that need none, and skips the others.
`

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(untilOrphaned(ctx), args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		if errors.Is(err, java.ErrMissing) {
			fmt.Fprint(os.Stderr, withoutJava)
		}
	}
	os.Exit(code)
}

// untilOrphaned gives a context that ends when the process that started this one is gone. `go run` does not pass on the
// signals that end it.
func untilOrphaned(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	parent := os.Getppid()
	go func() {
		for range time.Tick(200 * time.Millisecond) {
			if os.Getppid() != parent {
				cancel(errors.New("the process that started this one is gone"))
				return
			}
		}
	}()
	return ctx
}

// run gives the exit code. An error is one of its own, not the command's.
func run(ctx context.Context, args []string) (int, error) {
	dir, err := os.MkdirTemp("", "cqrs-servers-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	env, stop, err := start(ctx, dir)
	defer stop()
	if err != nil {
		return 1, err
	}
	return command(ctx, args, env)
}

// command runs the command to its end.
func command(ctx context.Context, args, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = java.EndWithParent()
	runtime.LockOSThread() // the thread stays, and with it the command
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return 127, err
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 && ctx.Err() == nil {
		return code, nil
	}
	return 1, fmt.Errorf("%s was ended: %w", args[0], errors.Join(context.Cause(ctx), err))
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "servers: "+format+"\n", args...)
}
