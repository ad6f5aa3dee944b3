package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

type options struct {
	data, expect, file string
	batch              int
	servers            servers.Flags
	work               bool

	asOf            instant
	history, tail   string
	carrier, origin string
	day             instant
	delays          bool
	sql             string
	audit, scrub    bool
	rate            int
}

// instant is a flag's value; nil when it was not given.
type instant struct{ at *time.Time }

func (i *instant) String() string { return "" }

func (i *instant) Set(s string) error {
	t, err := parseInstant(s)
	i.at = &t
	return err
}

const usage = `usage: flights [-data DIR] [-expect FILE] [-batch N] [-asof TIME] [servers] [questions] [FILE]

Sends the commands of FILE (gzipped or not; - is the standard input), and then prints the table of the carriers, or the answers
to the questions: -carrier, -tail, -history, -origin with -day, -delays, -sql, -audit, -scrub. Without FILE it asks what the
folder holds already.
`

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("flights", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.data, "data", "data/flights", "the data `folder`")
	flags.StringVar(&o.expect, "expect", "", "compare the table with this `file`")
	flags.IntVar(&o.batch, "batch", 5000, "commands sent at a time")
	flags.BoolVar(&o.work, "work", false, "work for the other processes on the same -kafka, until it is ended")
	o.servers.Add(flags, "flights-")
	o.servers.AddShards(flags)
	flags.Var(&o.asOf, "asof", "answer as of this `time`, such as 2013-01-10 (its beginning)")
	flags.StringVar(&o.history, "history", "", "all versions of the flight with this `key`, such as UA1545/2013-01-01/EWR")
	flags.StringVar(&o.tail, "tail", "", "the flights of the aircraft with this tail `number`, such as N14228")
	flags.StringVar(&o.carrier, "carrier", "", "the flights of the carrier with this `code`, counted")
	flags.StringVar(&o.origin, "origin", "", "the flights from this `airport`, on the day that -day gives")
	flags.Var(&o.day, "day", "the `day` for -origin, such as 2013-01-05")
	flags.BoolVar(&o.delays, "delays", false, "the longest chains of delay; builds a second aggregate when it is not there yet")
	flags.StringVar(&o.sql, "sql", "", "the rows of this `statement` over the tables flights and carriers")
	flags.BoolVar(&o.audit, "audit", false, "decide again what the queue still keeps, and name the decisions that come out otherwise")
	flags.BoolVar(&o.scrub, "scrub", false, "compare the log, the store and the tables, and name the differences")
	flags.IntVar(&o.rate, "rate", 0, "with -audit and -scrub: so many `commands` a second at the most")
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.file = flags.Arg(0); flags.NArg() > 1 {
		flags.Usage()
		return o, errors.New("name one file, or - for the standard input; flags stand before it")
	}
	return o, o.check()
}

func (o *options) check() error {
	if o.batch < 1 {
		return errors.New("-batch must be at least 1")
	}
	if o.rate < 0 {
		return errors.New("-rate must not be negative")
	}
	if (o.origin == "") != (o.day.at == nil) {
		return errors.New("-origin and -day go together: -origin EWR -day 2013-01-05")
	}
	if o.work && (o.servers.Kafka == "" || o.file != "") {
		return errors.New("-work takes no file, and needs -kafka: it does what others send")
	}
	if _, err := os.Stat(o.data); o.file == "" && o.servers.Kafka == "" && errors.Is(err, fs.ErrNotExist) {
		return o.noFlights()
	}
	return nil
}

// noFlights is the error of a question to a folder that holds nothing.
func (o *options) noFlights() error {
	return fmt.Errorf("there are no flights in %s yet: name one file to send, or - for the standard input", o.data)
}

// asks tells whether there is a question other than for the table.
func (o *options) asks() bool {
	return o.history != "" || o.tail != "" || o.carrier != "" || o.origin != "" || o.delays || o.sql != "" || o.audit || o.scrub
}
