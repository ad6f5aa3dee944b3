// Command seats sells the seats of a concert to 50 buyers who all buy at the same time, and never sells one twice.
//
//	seats [-consistency serializable|unchanged|asofbasis] [-data DIR] [-buyers N] [-rows N] [-width N] [-kafka BROKERS] [-dynamodb URL] [-create]
//
// A buyer looks at a view, chooses seats that are free there, and orders them, with the t of the view as the order's basis. Meanwhile
// others do the same. What happens to a buyer who comes too late is a matter of the consistency:
//
//	serializable   the decision sees the newest value, and refuses the order because the seat is sold
//	unchanged      the decision sees what the buyer saw; it is refused as a conflict because that has changed since,
//	               and the buyer looks again, at a view that shows the change
//	asofbasis      the decision sees what the buyer saw, and nothing is checked: the seat is decided to be sold a second time.
//	               The unique index over the tickets keeps that out of the tables
//
// At the end it prints who has how many seats, and checks that each seat has one owner.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "seats:", err)
		os.Exit(1)
	}
}

type options struct {
	data, consistency   string
	buyers, rows, width int
	mode                cqrs.Consistency
	servers             servers.Flags
}

var modes = map[string]cqrs.Consistency{
	"serializable": cqrs.Serializable, "unchanged": cqrs.Unchanged, "asofbasis": cqrs.AsOfBasis,
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("seats", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.consistency, "consistency", "unchanged", "what an order relies on: serializable, unchanged or asofbasis")
	flags.StringVar(&o.data, "data", "", "the data `folder`; a temporary one if it is not given")
	flags.IntVar(&o.buyers, "buyers", 50, "buyers at the same time")
	flags.IntVar(&o.rows, "rows", 20, "rows of the hall, 1 to 26")
	flags.IntVar(&o.width, "width", 25, "seats of a row, 1 to 99")
	o.servers.Add(flags, "seats-")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	mode, ok := modes[o.consistency]
	o.mode = mode
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: there is nothing but flags", flags.Arg(0))
	case !ok:
		return o, fmt.Errorf("-consistency %s: write serializable, unchanged or asofbasis", o.consistency)
	case o.buyers < 1:
		return o, errors.New("-buyers must be at least 1")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp("", "seats"); err != nil {
			return err
		}
		defer os.RemoveAll(o.data)
	}
	on, err := o.servers.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	cfg := config(o.mode)
	cfg.Queue = on.Queue // nil: local files
	cfg.Store = on.Store
	rt, err := cqrs.Open(o.data, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel() // nobody waits for work that is not done
		ended <- rt.Run(context.Background())
	}()
	defer func() { err = errors.Join(err, rt.Close(), <-ended) }()
	return concert(ctx, rt, o, out)
}

// concert opens the hall, sells it, and tells how it went.
func concert(ctx context.Context, rt *cqrs.Runtime, o options, out io.Writer) error {
	if err := openHall(ctx, rt, o); err != nil {
		return err
	}
	seats, err := Free.Whole().Count(rt.View())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d seats are free; %d buyers, each order is %s\n", seats, o.buyers, o.consistency)
	began := time.Now()
	buyers, err := sell(ctx, rt, o.buyers, uint64(began.UnixNano()))
	if err != nil {
		return err
	}
	printSale(out, buyers, time.Since(began))
	found, err := inspect(ctx, rt)
	if err != nil {
		return err
	}
	printFindings(out, found)
	return found.fault()
}

// openHall puts the seats on sale, if an earlier run has not.
func openHall(ctx context.Context, rt *cqrs.Runtime, o options) error {
	receipt, err := rt.Send(ctx, OpenHall{o.rows, o.width})
	if err != nil {
		return err
	}
	_, err = receipt.Wait(ctx)
	if e, ok := errors.AsType[*cqrs.Error](err); ok && e.Tag == "rejected" {
		return nil
	}
	return err
}
