// Command service is an HTTP service whose instances share the work.
//
//	service -kafka localhost:9092 -dynamodb http://localhost:8000 -create -shards 4 -addr :8081 -data DIR1
//	service -kafka localhost:9092 -dynamodb http://localhost:8000 -addr :8082 -data DIR2
//
// Requests may go to any instance:
//
//	POST /commands/account/deposit   {"account":"7","cents":100}; Idempotency-Key: the command's id; If-Match: what the sender has seen
//	GET  /accounts/7                 Basis: at least this value; ?at= this one, for ever the same; If-None-Match
//	GET  /shards/0/accounts          a page of rows: ?n= and ?after=
//	GET  /shards/0                   sums, and the digest of everything that was accepted
//	GET  /health
//
// An answer is final, or it is 503 and the same request may be sent again, there or elsewhere: 200; 409 conflict (something has changed since
// If-Match; another command has this id); 422 refused; 400, 404, 410 and 413 bad requests; 500 a defect, which waits in the dead letters.
//
// SIGTERM has it end when all requests under way have their answer. Without -kafka it works alone, on local files.
//
//	go run ./internal/servers -- go run ./examples/service -demo
//
// starts three instances, sends them commands, kills one with -9, starts it again, and compares what they have at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

type options struct {
	addr, data string
	wait       time.Duration
	demo       bool
	phase      time.Duration // of the demo
	servers    servers.Flags
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "the `address` to listen on")
	flags.StringVar(&o.data, "data", "data/service", "the data `folder`")
	flags.DurationVar(&o.wait, "wait", 5*time.Second, "how long a request waits for a command's end, or for a basis")
	flags.BoolVar(&o.demo, "demo", false, "start three instances, kill one, and compare")
	o.servers.Add(flags, "service-")
	o.servers.AddShards(flags)
	o.servers.Session = 6 * time.Second // Kafka's brokers take no less
	o.phase = 4 * time.Second
	return o, flags.Parse(args)
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parse(args, errs)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case o.demo:
		return demo(ctx, o, out)
	}
	return serve(ctx, o, out)
}

// serve is one instance.
func serve(ctx context.Context, o options, out io.Writer) (err error) {
	on, err := o.servers.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	cfg := config()
	cfg.Queue = on.Queue // nil: local files
	cfg.Store = on.Store
	cfg.Shards = o.servers.Shards
	rt, err := cqrs.Open(o.data, cfg)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return errors.Join(err, rt.Close())
	}
	fmt.Fprintf(out, "listening on http://%s\n", listener.Addr())
	return listen(ctx, rt, listener, newService(rt, cfg, o.wait).handler())
}

const drainWithin = 15 * time.Second

// listen answers until ctx ends. Then it takes no new connections, finishes what is under way, while the runtime still works, and closes.
func listen(ctx context.Context, rt *cqrs.Runtime, listener net.Listener, handler http.Handler) error {
	working := make(chan error, 1)
	go func() { working <- rt.Run(context.Background()) }()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-working:
		working <- nil
	case failed = <-serving:
	}
	drain, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	return errors.Join(failed, server.Shutdown(drain), rt.Close(), <-working)
}
