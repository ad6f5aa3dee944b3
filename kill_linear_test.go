package cqrs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The bank again, in processes that are killed with -9: one history of all of them. What a client had sent and not heard the end of
// when it died may have taken effect, or not; the log tells.

func init() { children["bank"] = bankUntilKilled }

// bankNote is a line of the history: a call, or its return.
type bankNote struct {
	ID       uuid.UUID
	At       int64
	Returned bool

	Do       string // of a call
	Transfer transfer
	Basis    uint64
	Seen     balances

	End      string // of a return
	T        uint64
	Balances balances
}

func accountsConfig() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{opening{}, transferSerializable{}, transferAsOfBasis{}, transferUnchanged{}},
		Events:     []cqrs.Event{moved{}},
		Aggregator: bankFold{}, Tables: []cqrs.AnyTable{accounts}, NoSync: true,
	}
}

func bankUntilKilled(t *testing.T, dir string) {
	rt, _, _ := start(t, filepath.Join(dir, "data"), accountsConfig())
	mustDo(t, rt, opening{}, cqrs.WithID(uuid.Max)) // in every life, with one effect
	file := openNotes(t, filepath.Join(dir, "history"))
	write := func(n bankNote) error {
		n.At = time.Now().UnixNano()
		line, err := json.Marshal(n)
		if err == nil {
			_, err = file.file.Write(append(line, '\n'))
		}
		return err
	}
	ended := make(chan error)
	for id := range 4 {
		c := newBankClient(rt, id, time.Now())
		c.rand = rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(id)))
		go func() { ended <- c.untilKilled(t.Context(), write) }()
	}
	t.Fatal(<-ended)
}

func (c *bankClient) untilKilled(ctx context.Context, write func(bankNote) error) error {
	for n := 0; ; n++ {
		in := bankInput{do: "read"}
		if n%4 > 0 {
			in = bankInput{do: []string{"look", "serializable", "serializable", "unchanged"}[c.rand.IntN(4)], basis: c.seen.t, seen: c.seen.balances}
			in.transfer = transfer{c.rand.IntN(bankAccounts), 0, 1 + c.rand.IntN(9)}
			in.transfer.To = (in.transfer.From + 1 + c.rand.IntN(bankAccounts-1)) % bankAccounts
		}
		c.next = uuid.New()
		if err := write(bankNote{ID: c.next, Do: in.do, Transfer: in.transfer, Basis: in.basis, Seen: in.seen}); err != nil {
			return err
		}
		out, err := c.do(ctx, in)
		if err != nil {
			return err
		}
		if err := write(bankNote{ID: c.next, Returned: true, End: out.end, T: out.t, Balances: out.balances}); err != nil {
			return err
		}
	}
}

// Invariant 6, across kills.
func TestHistoriesAcrossKillsAreLinearizable(t *testing.T) {
	kills, dir := 20, t.TempDir()
	for range kills {
		cmd := asChild(exec.Command(os.Args[0], childArgs), "bank", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, ctx := sizeOf(filepath.Join(dir, "history")), patience(t)
		for enough := before + 4000 + rand.Int64N(8000); sizeOf(filepath.Join(dir, "history")) < enough; {
			mustDeadline(t, ctx)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	rt, _, _ := start(t, filepath.Join(dir, "data"), accountsConfig())
	mustDo(t, rt, opening{}, cqrs.WithID(uuid.Max))
	mustDo(t, rt, transferSerializable{}) // behind all that was sent
	history, open := readHistory(t, rt, filepath.Join(dir, "history"))
	if got := porcupine.CheckOperationsTimeout(bankModel, history, 30*time.Second); got != porcupine.Ok {
		t.Errorf("%d operations: %s", len(history), got)
	}
	if open == 0 {
		t.Error("no transfer was cut off and took effect all the same")
	}
	figure(t, "histories across kills, linearizable", "%d operations, %d kills; %d transfers took effect whose sender died before it heard", len(history),
		kills, open)
}

// readHistory gives the operations of a file, less those that never took effect and nobody heard of.
func readHistory(t *testing.T, rt *cqrs.Runtime, path string) (history []porcupine.Operation, open int) {
	t.Helper()
	calls, client := map[uuid.UUID]bankNote{}, 0
	add := func(call bankNote, out bankOutput, returned int64) {
		delete(calls, call.ID)
		in := bankInput{do: call.Do, transfer: call.Transfer, basis: call.Basis, seen: call.Seen}
		history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call.At, Output: out, Return: returned})
		client++ // operations may overlap as they like
	}
	for _, line := range readLines(t, path) {
		var n bankNote
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatal(fmt.Errorf("%q: %w", line, err))
		}
		if !n.Returned {
			calls[n.ID] = n
			continue
		}
		add(calls[n.ID], bankOutput{n.End, n.T, n.Balances}, n.At)
	}
	for id, call := range calls {
		at, _ := cqrs.End(t, rt, id)
		if at == 0 {
			continue
		}
		r, err := rt.Store().Commit(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var e moved
		if err := json.Unmarshal(r.Events[0].Data, &e); err != nil {
			t.Fatal(err)
		}
		add(call, bankOutput{"accepted", at, e.Balances}, math.MaxInt64)
		open++
	}
	return history, open
}
