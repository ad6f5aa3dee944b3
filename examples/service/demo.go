package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	instances = 3
	senders   = 12
	accounts  = 24
)

// show is the demonstration: instances, traffic, a kill, and what is there at the end.
type show struct {
	*client
	list  []*instance
	out   io.Writer
	phase time.Duration

	sent [accounts]atomic.Int64 // deposits with the final answer that they are accepted
	ends struct{ accepted, refused, repeated atomic.Int64 }
}

func demo(ctx context.Context, o options, out io.Writer) (err error) {
	on := o.servers
	setDefault(&on.Kafka, os.Getenv("CQRS_KAFKA"))
	setDefault(&on.DynamoDB, os.Getenv("CQRS_DYNAMODB"))
	if on.Kafka == "" || on.DynamoDB == "" {
		return errors.New("-demo needs -kafka and -dynamodb, or: go run ./internal/servers -- go run ./examples/service -demo")
	}
	if on.Prefix == "service-" { // a world of its own
		on.Prefix = fmt.Sprintf("service-%x-", time.Now().UnixNano())
	}
	if on.Create = true; on.Shards == 0 {
		on.Shards = 4
	}
	dir, err := os.MkdirTemp("", "service-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &show{client: newClient(instances), out: out, phase: o.phase}
	for n := range instances {
		s.list = append(s.list, newInstance(n, on, dir))
	}
	defer func() {
		for _, i := range s.list {
			i.kill()
		}
	}()
	return s.play(ctx, on.Shards)
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// play is the whole of it.
func (s *show) play(ctx context.Context, shards int) error {
	s.say("1. Three instances on one Kafka and one DynamoDB, %d shards", shards)
	for n := range s.list {
		if err := s.start(n); err != nil {
			return err
		}
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	owner, err := s.awaitOwner(ctx)
	if err != nil {
		return err
	}
	s.say("2. %d clients send to any of them; instance %d does the work of some shards, and is killed with -9", senders, owner)
	if err := s.traffic(ctx, func() error { return s.killAndRestart(ctx, owner) }); err != nil {
		return err
	}
	s.say("3. All clients have a final answer to everything: %d accepted, %d of them asked twice, %d refused; %d answers were none, and those "+
		"commands were sent again, under the same id. The longest took %.1f s", s.ends.accepted.Load(), s.ends.repeated.Load(), s.ends.refused.Load(),
		s.retries.Load(), time.Duration(s.longest.Load()).Seconds())
	if err := s.compare(ctx, shards); err != nil {
		return err
	}
	for _, i := range s.list {
		if err := i.stop(); err != nil {
			return err
		}
	}
	s.say("5. All instances were told to end (SIGTERM), and did")
	return nil
}

func (s *show) start(n int) error {
	url, err := s.list[n].start()
	if err == nil {
		s.urls[n].Store(&url)
		s.say("   instance %d answers at %s", n, url)
	}
	return err
}

func accountOf(n int) string { return fmt.Sprintf("account-%d", n) }

func (s *show) open(ctx context.Context) error {
	for n := range accounts {
		f, err := s.send(ctx, n%instances, uuid.Must(uuid.NewV7()), "account/open", Open{accountOf(n), "somebody"})
		if err != nil || f.status != 200 {
			return fmt.Errorf("open account %d: %v %+v", n, err, f)
		}
	}
	return nil
}

// awaitOwner waits until each instance has some shards, and gives the one with the most.
func (s *show) awaitOwner(ctx context.Context) (most int, err error) {
	for ctx.Err() == nil {
		owned := make([]int, instances)
		for n := range s.list {
			var health struct{ Shards []struct{ Owner bool } }
			if err = s.get(ctx, n, "/health", "", &health); err != nil {
				break
			}
			for _, h := range health.Shards {
				if h.Owner {
					owned[n]++
				}
			}
		}
		if err == nil && slices.Min(owned) > 0 {
			s.say("   they share out the shards: %d", owned)
			return slices.Index(owned, slices.Max(owned)), nil
		}
		pause(ctx, 100*time.Millisecond)
	}
	return 0, errors.Join(ctx.Err(), err)
}

// killAndRestart goes on beside the traffic.
func (s *show) killAndRestart(ctx context.Context, n int) error {
	pause(ctx, s.phase)
	before := s.ends.accepted.Load()
	s.list[n].kill()
	s.say("   instance %d is gone; %d commands were accepted until now", n, before)
	pause(ctx, 2*s.phase)
	s.say("   %d more were accepted meanwhile", s.ends.accepted.Load()-before)
	if err := s.start(n); err != nil {
		return err
	}
	pause(ctx, s.phase)
	return nil
}

// traffic sends until meanwhile has ended, and until all that was sent has its final answer.
func (s *show) traffic(ctx context.Context, meanwhile func() error) error {
	var all sync.WaitGroup
	var over atomic.Bool
	errs := make([]error, senders)
	for n := range senders {
		all.Go(func() {
			for i := n; !over.Load() && errs[n] == nil; i++ {
				errs[n] = s.deposit(ctx, i)
			}
		})
	}
	err := meanwhile()
	over.Store(true)
	all.Wait()
	return errors.Join(append(errs, err)...)
}

// deposit sends 1 cent to an account; now and then also what is refused, and the same command once more, to another instance.
func (s *show) deposit(ctx context.Context, i int) error {
	account, id := i%accounts, uuid.Must(uuid.NewV7())
	f, err := s.send(ctx, i%instances, id, "account/deposit", Deposit{accountOf(account), 1})
	if err != nil || f.status != 200 {
		return fmt.Errorf("a deposit: %v %+v", err, f)
	}
	s.sent[account].Add(1)
	s.ends.accepted.Add(1)
	switch i % 10 {
	case 3:
		return s.again(ctx, i+1, account, f)
	case 7:
		f, err := s.send(ctx, i%instances, uuid.Must(uuid.NewV7()), "account/withdraw", Withdraw{accountOf(account), 1 << 40})
		if err != nil || f.status != 422 || f.fault.Tag != "rejected" {
			return fmt.Errorf("more was withdrawn than there is: %v %+v", err, f)
		}
		s.ends.refused.Add(1)
	}
	return nil
}

func (s *show) again(ctx context.Context, instance, account int, first final) error {
	f, err := s.send(ctx, instance%instances, first.answer.ID, "account/deposit", Deposit{accountOf(account), 1})
	if err != nil || f.status != 200 || f.answer.Basis != first.answer.Basis {
		return fmt.Errorf("command %s came again: %v %+v, and at first %+v", first.answer.ID, err, f, first)
	}
	s.ends.repeated.Add(1)
	return nil
}

// compare finds on each instance what the clients were told, and everywhere the same.
func (s *show) compare(ctx context.Context, shards int) error {
	var errs []error
	for shard := range shards {
		sums, err := s.sums(ctx, shard)
		if err != nil {
			return err
		}
		for n := range sums {
			if sums[n] != sums[0] {
				errs = append(errs, fmt.Errorf("instance %d has %+v, and instance 0 %+v", n, sums[n], sums[0]))
			}
		}
		s.say("   shard %d on all instances: t %d, %d cents, digest %.16s", shard, sums[0].T, sums[0].Cents, sums[0].Digest)
	}
	for n := range accounts {
		for i := range instances {
			var a Account
			err := s.get(ctx, i, "/accounts/"+accountOf(n), "", &a)
			if want := s.sent[n].Load(); err != nil || a.Cents != want || a.Movements != int(want) {
				errs = append(errs, fmt.Errorf("instance %d has %+v, and %d deposits were accepted (%v)", i, a, want, err))
			}
		}
	}
	if len(errs) == 0 {
		s.say("4. Every instance has the same, and each account has what its senders were told: nothing is lost, nothing counts twice")
	}
	return errors.Join(errs...)
}

// sums asks all instances for a shard's sums, of the newest value that one of them has.
func (s *show) sums(ctx context.Context, shard int) ([]shardSums, error) {
	path := fmt.Sprint("/shards/", shard)
	list, newest := make([]shardSums, instances), ""
	for range 2 { // what the first round shows, all have in the second
		var top uint64
		for i := range list {
			if err := s.get(ctx, i, path, newest, &list[i]); err != nil {
				return nil, err
			}
			top = max(top, list[i].T)
		}
		newest = fmt.Sprintf("%d-%d", shard, top)
	}
	return list, nil
}
