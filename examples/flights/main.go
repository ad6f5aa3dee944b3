// Command flights takes a real stream of flight commands, a JSON object a line, keeps a table per carrier, and answers questions.
//
//	flights [-data DIR] [-expect FILE] [-batch N] [-asof TIME] [questions] [FILE]
//
// FILE may be gzipped; - is the standard input. It can be stopped at any moment, by Ctrl-C or worse: started again, it goes on where
// it was. With -expect it compares the table at the end with a file, and exits with status 1 when they differ.
//
// When the folder holds flights FILE may be left out, and nothing is sent. The questions:
//
//	-tail N14228                    the flights of an aircraft
//	-origin EWR -day 2013-01-05     the flights from an airport on a day
//	-carrier UA                     the flights of a carrier, counted
//	-history UA1545/2013-01-01/EWR  all versions of a flight
//	-delays                         the longest chains of late departures: builds a second aggregate from the stored events
//	-sql "SELECT ..."               SQL over the tables flights and carriers
//
// With -asof 2013-01-10 the table, and every answer, is as of that instant.
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

// program is one run of the command.
type program struct {
	options
	rt        *cqrs.Runtime
	bar       *bar
	in        io.Reader
	out, errs io.Writer
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	p := &program{options: o, bar: newBar(errs), in: in, out: out, errs: errs}
	if p.rt, err = p.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel() // nobody waits for work that is not done
		ended <- p.rt.Run(context.Background())
	}()
	defer func() { err = errors.Join(err, p.rt.Close(), <-ended) }()
	return p.work(ctx)
}

func (p *program) open() (*cqrs.Runtime, error) {
	cfg := config()
	if p.delays {
		cfg = withDelays(cfg, p.bar.hear)
	}
	rt, err := cqrs.Open(p.data, cfg)
	if err == nil && p.delays {
		p.bar.begins(rt.Shard(0).Aggregate(delaysName))
	}
	return rt, err
}

func (p *program) work(ctx context.Context) error {
	if p.file != "" {
		if err := p.feed(ctx); err != nil {
			return err
		}
	}
	newest := p.rt.View()
	if p.file == "" && newest.T() == 0 {
		return p.noFlights()
	}
	view, err := p.viewOf(ctx, newest)
	if err != nil {
		return err
	}
	if err := p.answer(ctx, newest, view); err != nil {
		return err
	}
	if p.expect != "" {
		return compare(p.out, view, p.expect)
	}
	return nil
}

// viewOf is the view that the questions are put to.
func (p *program) viewOf(ctx context.Context, newest cqrs.View) (cqrs.View, error) {
	if p.asOf.at == nil {
		return newest, nil
	}
	v, err := p.rt.Shard(0).AsOfTime(ctx, *p.asOf.at)
	if err == nil {
		fmt.Fprintf(p.out, "as of %s, which is t %d of %d\n", minute(p.asOf.at.UnixMilli()), v.T(), newest.T())
	}
	return v, err
}

// answer prints the answers to all that was asked, or the table.
func (p *program) answer(ctx context.Context, newest, v cqrs.View) (err error) {
	ask := func(asked bool, answer func() error) {
		if asked && err == nil {
			err = answer()
		}
	}
	ask(!p.asks(), func() error { return printTable(p.out, v) })
	ask(p.carrier != "", func() error { return printCarrier(p.out, v, p.carrier) })
	ask(p.tail != "", func() error { return printTail(p.out, v, p.tail) })
	ask(p.origin != "", func() error { return printDay(p.out, v, p.origin, *p.day.at) })
	ask(p.history != "", func() error { return printHistory(ctx, p.out, p.rt.Shard(0), v, p.history) })
	ask(p.sql != "", func() error { return printSQL(ctx, p.out, v, p.sql) })
	ask(p.delays, func() error { return p.chains(ctx, newest, v) })
	return err
}

// chains waits until the second aggregate has come to where the first one is. It, too, can be read as of any t.
func (p *program) chains(ctx context.Context, newest, v cqrs.View) error {
	side := p.rt.Shard(0).Aggregate(delaysName)
	if err := p.bar.wait(ctx, delaysName, side, newest.T()); err != nil {
		return err
	}
	return printChains(p.out, side.AsOf(v.T()))
}

// feed sends what the file holds beyond the place that an earlier run reached.
func (p *program) feed(ctx context.Context) error {
	stream, err := openStream(p.file, p.in)
	if err != nil {
		return err
	}
	defer stream.Close()
	place := openPlace(filepath.Join(p.data, "place.json"), p.file)
	if err := stream.skip(place.Lines); err != nil {
		return err
	}
	sent := newProgress(p.errs, place.Lines)
	defer sent.end()
	return send(ctx, p.rt, stream, place, sent, p.batch)
}
