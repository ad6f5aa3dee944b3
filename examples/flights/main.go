// Command flights takes a real stream of flight commands, a JSON object a line, keeps a table per carrier, and answers questions.
//
//	flights [-data DIR] [-expect FILE] [-batch N] [-asof TIME] [servers] [questions] [FILE]
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
//	-audit                          decides again what the queue still keeps: what comes out otherwise?
//	-scrub                          compares the log, the store and the tables: what differs?
//
// After -audit and -scrub the status is 1 when there are differences. With -rate they leave the machine to others.
// With -asof 2013-01-10 the table, and every answer, is as of that instant.
//
// It works on local files, or on Kafka and DynamoDB, which several processes share, each with a folder of its own:
//
//	flights -kafka localhost:9092 -dynamodb http://localhost:8000 -create -shards 4 -data DIR1 FILE
//	flights -kafka localhost:9092 -dynamodb http://localhost:8000 -data DIR2 -work
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
	"github.com/cqrs-server/cqrs/examples/internal/servers"
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
	on        *servers.Servers
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
	if p.on, err = o.servers.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.on.Close()) }()
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
	return p.do(ctx)
}

func (p *program) open() (*cqrs.Runtime, error) {
	cfg := config()
	cfg.Queue = p.on.Queue // nil: local files
	cfg.Store = p.on.Store
	cfg.Shards = p.servers.Shards
	if p.delays {
		cfg = withDelays(cfg, p.bar.hear)
	}
	rt, err := cqrs.Open(p.data, cfg)
	if err == nil && p.delays {
		p.bar.begins(rt.Shard(0).Aggregate(delaysName))
	}
	return rt, err
}

func (p *program) do(ctx context.Context) error {
	if p.work {
		fmt.Fprintln(p.errs, "working")
		<-ctx.Done()
		return nil
	}
	if p.file != "" {
		if err := p.feed(ctx); err != nil {
			return err
		}
	}
	newest, err := newestOf(ctx, p.rt)
	if err != nil {
		return err
	}
	if p.file == "" && newest.t() == 0 {
		return p.noFlights()
	}
	asked, err := p.asked(ctx, newest)
	if err != nil {
		return err
	}
	if err := p.answer(ctx, newest, asked); err != nil {
		return err
	}
	if p.expect != "" {
		return compare(p.out, asked, p.expect)
	}
	return nil
}

// asked is the value that the questions are put to.
func (p *program) asked(ctx context.Context, newest world) (world, error) {
	if p.asOf.at == nil {
		return newest, nil
	}
	w, err := asOf(ctx, p.rt, len(newest), *p.asOf.at)
	if err == nil {
		fmt.Fprintf(p.out, "as of %s, which is t %d of %d\n", minute(p.asOf.at.UnixMilli()), w.t(), newest.t())
	}
	return w, err
}

// answer prints the answers to all that was asked, or the table.
func (p *program) answer(ctx context.Context, newest, w world) (err error) {
	ask := func(asked bool, answer func() error) {
		if asked && err == nil {
			err = answer()
		}
	}
	ask(!p.asks(), func() error { return printTable(p.out, w) })
	ask(p.carrier != "", func() error { return printCarrier(p.out, w, p.carrier) })
	ask(p.tail != "", func() error { return printTail(p.out, w, p.tail) })
	ask(p.origin != "", func() error { return printDay(p.out, w, p.origin, *p.day.at) })
	ask(p.history != "", func() error {
		n := p.rt.ShardOf(p.history)
		return printHistory(ctx, p.out, p.rt.Shard(n), w[n], p.history)
	})
	ask(p.sql != "", func() error { return printSQL(ctx, p.out, w, p.sql) })
	ask(p.delays, func() error { return p.chains(ctx, newest, w) })
	ask(p.audit, func() error { return p.auditAll(ctx) })
	ask(p.scrub, func() error { return p.scrubAll(ctx) })
	return err
}

// chains waits until the second aggregate has come to where the first one is. It, too, can be read as of any t.
func (p *program) chains(ctx context.Context, newest, w world) error {
	if len(w) > 1 {
		return errors.New("-delays needs all flights of an aircraft in one shard, and they are in several: a flight's key is its own")
	}
	side := p.rt.Shard(0).Aggregate(delaysName)
	if err := p.bar.wait(ctx, delaysName, side, newest.t()); err != nil {
		return err
	}
	return printChains(p.out, side.AsOf(w.t()))
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
