// Command user walks through the story of the original cqrs-server's introduction: a user is registered, changed and disabled, looks at
// three pages, and everything that happened can be seen. Its data stays in the folder given by -data: run again, it goes on from there.
// With -kafka and -dynamodb it is the same story on servers. (There are no -shards: a name is taken once, in one world.)
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
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

func main() {
	data := flag.String("data", "data/user", "the data `folder`")
	var on servers.Flags
	on.Add(flag.CommandLine, "user-")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *data, on, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "user:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, data string, flags servers.Flags, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	on, err := flags.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	cfg := config()
	cfg.Queue = on.Queue // nil: local files
	cfg.Store = on.Store
	rt, err := cqrs.Open(data, cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	defer func() { err = errors.Join(err, rt.Close(), <-ended) }()
	if _, err := rt.Shard(0).Sync(ctx); err != nil { // what other processes did belongs to the story
		return err
	}
	s := &story{ctx: ctx, rt: rt, out: out}
	s.tell()
	return s.err
}

// story tells what happens; after the first error it stays silent.
type story struct {
	ctx context.Context // a story is told in one call
	rt  *cqrs.Runtime
	out io.Writer
	err error
}

func (s *story) say(format string, args ...any) {
	if s.err == nil {
		fmt.Fprintf(s.out, format+"\n", args...)
	}
}

func (s *story) tell() {
	if t := s.rt.View().T(); t > 0 {
		s.say("There are the data of an earlier run: t is %d. The story goes on from there.\n", t)
	}
	s.say("1. Register Bob, 31. The command goes into the queue, is decided, and its event is stored and folded:")
	s.send(Register{Name: "Bob", Age: 31})
	bob := s.bob(s.rt.View())
	s.say("   Anybody can read the view. Bob is %+v\n", bob)

	s.say("2. Change his e-mail address, and disable him:")
	s.send(UpdateEmail{ID: bob.ID, Email: "bob@example.com"})
	s.send(Disable{ID: bob.ID})

	s.say("\n3. Three page views:")
	before := s.rt.View().T()
	var last cqrs.Outcome
	for i, url := range []string{"/", "/shoes", "/cart"} {
		last = s.send(PageView{ID: bob.ID, URL: "https://www.example.com" + url, RenderTime: 180 + i})
	}
	s.say("   The view count is %d.\n", s.bob(s.rt.View()).ViewCount)

	s.lookBack(before)
	s.listEvents()
	s.fail()
	s.repeat(last)
}

// send sends a command, waits for its feedback and shows it.
func (s *story) send(c cqrs.Command, options ...cqrs.SendOption) (out cqrs.Outcome) {
	if s.err != nil {
		return out
	}
	r, err := s.rt.Send(s.ctx, c, options...)
	if err == nil {
		out, err = r.Wait(s.ctx)
	}
	if err != nil {
		s.err = err
		return out
	}
	for _, e := range out.Events {
		s.say("   %s -> %s %s, seen from t %d on", c.CommandType(), e.Type, e.ID, out.T)
	}
	return out
}

func (s *story) bob(v cqrs.View) (user User) {
	if s.err == nil {
		user, s.err = Names.Get(v, "Bob")
	}
	return user
}

func (s *story) lookBack(t uint64) {
	then := s.bob(s.rt.Shard(0).AsOf(t))
	s.say("4. Nothing is lost: as of t %d, before the page views, the same view says: view count %d, %s, e-mail %s\n",
		t, then.ViewCount, then.Status, then.Email)
}

func (s *story) listEvents() {
	if s.err != nil {
		return
	}
	s.say("5. The store keeps every event, by its id, for ever:")
	n := 0
	for e, err := range s.rt.Events(s.ctx, store.Query{}) {
		if err != nil {
			s.err = err
			return
		}
		n++
		s.say("   t %d  %s  %-20s %s", e.T, e.ID, e.Type, e.Data)
	}
	s.say("   %d events.\n", n)
}

// unknown is a command that nobody registered.
type unknown struct{}

func (unknown) CommandType() string { return "user/nope" }
func (unknown) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return nil, errors.New("nobody calls this")
}

// fail shows where errors go.
func (s *story) fail() {
	if s.err != nil {
		return
	}
	s.say("6. A command of a type that nobody registered is a defect. It stops nobody, and waits in the dead letters:")
	id := uuid.New()
	r, err := s.rt.Send(s.ctx, unknown{}, cqrs.WithID(id))
	if err != nil {
		s.err = err
		return
	}
	_, err = r.Wait(s.ctx)
	s.say("   %v", err)
	letters, err := s.rt.DeadLetters(s.ctx)
	if err != nil {
		s.err = err
		return
	}
	s.say("   dead letters: %d. This one is discarded now.\n", len(letters))
	s.err = s.rt.Discard(s.ctx, letters...)
}

// repeat sends the last page view again, as a queue or a nervous sender might.
func (s *story) repeat(last cqrs.Outcome) {
	if s.err != nil {
		return
	}
	view := last.Events[0].Value.(PageViewed)
	s.say("7. The last page view is delivered a second time, under the same id:")
	again := s.send(PageView(view), cqrs.WithID(last.Command))
	s.say("   The sender hears the same answer (t %d). The view count is still %d, and t still %d.",
		again.T, s.bob(s.rt.View()).ViewCount, s.rt.View().T())
}
