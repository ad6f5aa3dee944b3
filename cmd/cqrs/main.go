// Command cqrs works on data folders from outside.
//
//	cqrs restore SNAPSHOT DIR
//
// makes the data folder DIR of what Runtime.Snapshot wrote (- for standard input): for a new machine, a replica, or another process
// that reads a copy. DIR must not exist, or be empty. It appears when it is whole.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/cqrs-server/cqrs"
)

var errUsage = errors.New("usage: cqrs restore SNAPSHOT DIR   (SNAPSHOT is a file that Runtime.Snapshot wrote, or - for standard input)")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, in io.Reader) error {
	if len(args) != 3 || args[0] != "restore" {
		return errUsage
	}
	if args[1] != "-" {
		file, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	return cqrs.Restore(ctx, args[2], in)
}
