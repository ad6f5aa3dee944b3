package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/cqrs-server/cqrs"
)

// buy asks a price service, which may be out of reach.
type buy struct {
	Item string `json:"item"`
}

type bought struct{ Item string }

func (buy) CommandType() string  { return "buy" }
func (bought) EventType() string { return "bought" }

func (c buy) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	if c.Item == "gold" {
		return nil, cqrs.Retry(errors.New("the price service is down"))
	}
	return []cqrs.Event{bought(c)}, nil
}

// A command that asks to be tried again holds up those behind it, unless Config.MaxRetries sends it to the dead letters.
func ExampleRetry() {
	dir, _ := os.MkdirTemp("", "retry")
	defer os.RemoveAll(dir)
	rt, err := cqrs.Open(dir, cqrs.Config{
		Commands: []cqrs.Command{buy{}}, Events: []cqrs.Event{bought{}}, MaxRetries: 1, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	ctx := context.Background()
	go rt.Run(ctx)

	gold, _ := rt.Send(ctx, buy{"gold"})
	salt, _ := rt.Send(ctx, buy{"salt"})
	_, err = gold.Wait(ctx)
	if e, ok := errors.AsType[*cqrs.Error](err); ok {
		fmt.Println("gold:", e.Level, e.Message)
	}
	out, _ := salt.Wait(ctx)
	fmt.Println("salt:", out.Events[0].Value)
	letters, _ := rt.DeadLetters(ctx)
	fmt.Println("dead letters:", len(letters))
	// Output:
	// gold: system the price service is down (given up: it was tried again 1 times)
	// salt: {salt}
	// dead letters: 1
}
