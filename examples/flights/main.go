// Command flights takes a real stream of flight commands, a JSON object a line, and keeps a table per carrier.
//
//	flights [-data DIR] [-expect FILE] [-batch N] FILE
//
// FILE may be gzipped; - is the standard input. It can be stopped at any moment, by Ctrl-C or worse: started again, it goes on where
// it was. With -expect it compares the table at the end with a file, and exits with status 1 when they differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cqrs-server/cqrs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "flights:", err)
		os.Exit(1)
	}
}

type options struct {
	data, expect, file string
	batch              int
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("flights", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.data, "data", "data/flights", "the data `folder`")
	flags.StringVar(&o.expect, "expect", "", "compare the table with this `file`")
	flags.IntVar(&o.batch, "batch", 5000, "commands sent at a time")
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: flights [-data DIR] [-expect FILE] [-batch N] FILE")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return o, errors.New("name one file, or - for the standard input")
	}
	o.file = flags.Arg(0)
	if o.batch < 1 {
		return o, errors.New("-batch must be at least 1")
	}
	return o, nil
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	rt, err := cqrs.Open(o.data, config())
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	defer func() { err = errors.Join(err, rt.Close(), <-ended) }()
	if err := feed(ctx, rt, o, in, errs); err != nil {
		return err
	}
	if err := printTable(out, rt.View()); err != nil {
		return err
	}
	if o.expect != "" {
		return compare(out, rt.View(), o.expect)
	}
	return nil
}

// feed sends what the file holds beyond the place that an earlier run reached.
func feed(ctx context.Context, rt *cqrs.Runtime, o options, in io.Reader, errs io.Writer) error {
	stream, err := openStream(o.file, in)
	if err != nil {
		return err
	}
	defer stream.Close()
	place := openPlace(filepath.Join(o.data, "place.json"), o.file)
	if err := stream.skip(place.Lines); err != nil {
		return err
	}
	p := newProgress(errs, place.Lines)
	defer p.end()
	return send(ctx, rt, stream, place, p, o.batch)
}
