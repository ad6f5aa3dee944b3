package dynamo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/google/uuid"
)

// logFails checks that Log gives some records and then an error with that text.
func logFails(t *testing.T, s store.Store, shard, records int, text string) {
	t.Helper()
	n := 0
	for _, err := range s.Log(t.Context(), shard, 1) {
		if err == nil {
			n++
			continue
		}
		if n != records || !strings.Contains(err.Error(), text) {
			t.Fatalf("after %d records: %v; want %d and %q", n, err, records, text)
		}
		return
	}
	t.Fatalf("Log gave %d records and no error, want %q", n, text)
}

func mustPut(t *testing.T, put func(context.Context, []store.Record) error, records ...store.Record) {
	t.Helper()
	if err := put(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// TestInvariant10Cuts has many writers that put the same records in calls of different cuts, by either way.
func TestInvariant10Cuts(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	records := w.records(1300)
	mustPut(t, s.Put, records[:100]...)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			put := []func(context.Context, []store.Record) error{s.Put, s.PutNew}[i%2]
			for at := 0; at < len(records); {
				n := min(1+rand.IntN(500), len(records)-at)
				if err := put(t.Context(), records[max(at-10, 0):at+n]); err != nil {
					t.Error(err)
				}
				at += n
			}
		})
	}
	wg.Wait()
	logIs(t, s, records)
	eventsAre(t, s, w.kind, records)
	if last, err := s.Last(t.Context(), w.shard); err != nil || last != 1300 {
		t.Errorf("Last = %d, %v", last, err)
	}
	for _, r := range []store.Record{records[0], records[599], records[1299]} {
		if got, err := s.Commit(t.Context(), r.Command); err != nil || got.T != r.T {
			t.Errorf("Commit at t %d gave t %d, %v", r.T, got.T, err)
		}
	}
}

// TestShorterCallKeepsRun repeats the front of a call, as a slow writer does.
func TestShorterCallKeepsRun(t *testing.T) {
	s, _ := newStore(t, nil)
	records := newWorld().records(20)
	mustPut(t, s.PutNew, records...)
	mustPut(t, s.PutNew, records[:3]...)
	mustPut(t, s.Put, records[:5]...)
	logIs(t, s, records)
}

// TestSlowWriterKeepsRun has a writer that looked at the log before another wrote it, and writes a part of the same afterwards.
func TestSlowWriterKeepsRun(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	slow, _ := newStore(t, func(c *dynamofaults.Call) (*http.Response, error) {
		if c.Op == "PutItem" && bytes.Contains(c.Body, []byte(`"lines"`)) {
			close(reached)
			<-release
		}
		return c.Pass()
	})
	fast := dynamo.New(newClient(address(t), nil), slow.Table())
	records := newWorld().records(20)
	done := make(chan error, 1)
	go func() { done <- slow.PutNew(t.Context(), records[:3]) }()
	<-reached
	mustPut(t, fast.PutNew, records...)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	logIs(t, fast, records)
}

// TestOtherAnchor offers a command again in a form that has its anchor elsewhere.
func TestOtherAnchor(t *testing.T) {
	w := newWorld()
	in := w.record([]byte("a"))
	w.t--
	own := w.record([]byte("a"))
	own.Command, own.Events[0].Segment = in.Command, "other"
	own.Events[0].ID = ids.Event(own.Command, 0, "other")
	w.t--
	none := w.record()
	none.Command = in.Command
	for name, c := range map[string]struct{ first, second store.Record }{
		"event, then other segment": {in, own}, "other segment, then event": {own, in},
		"event, then none": {in, none}, "none, then event": {none, in},
	} {
		for _, t2 := range []uint64{in.T, in.T + 1} {
			t.Run(name, func(t *testing.T) {
				s, _ := newStore(t, nil)
				mustPut(t, s.Put, c.first)
				second := c.second
				second.T = t2
				_, ok := errors.AsType[*store.ConflictError](s.Put(t.Context(), []store.Record{second}))
				if !ok {
					t.Error("the second was taken")
				}
				logIs(t, s, []store.Record{c.first})
				for _, e := range second.Events {
					if _, err := s.Event(t.Context(), e.ID); len(c.first.Events) == 0 && !errors.Is(err, store.ErrNotFound) {
						t.Errorf("the second's event: %v", err)
					}
				}
			})
		}
	}
}

// TestInvariant9TooLarge checks that nothing is written when something does not fit, and that what Limit promises fits.
func TestInvariant9TooLarge(t *testing.T) {
	s, n := newStore(t, nil)
	w := newWorld()
	fits := w.record(make([]byte, s.Limit()), make([]byte, s.Limit()))
	mustPut(t, s.Put, fits)
	before := n.Count("BatchWriteItem") + n.Count("PutItem")
	for name, c := range map[string]struct {
		change func(*store.Record)
		want   string
	}{
		"payload": {func(r *store.Record) { r.Events[0].Data = make([]byte, 400<<10) }, "make the event smaller"},
		"key":     {func(r *store.Record) { r.Key = strings.Repeat("k", 410<<10) }, "shorten"},
		"both": {func(r *store.Record) {
			r.Events[0].Data, r.Key = make([]byte, s.Limit()), strings.Repeat("k", 21<<10)
		}, "make the event smaller"},
		"remarks": {func(r *store.Record) { r.Remarks = make([]byte, 410<<10) }, "shorten"},
		"segment": {func(r *store.Record) {
			r.Events[0].Data, r.Events[0].Segment = make([]byte, s.Limit()), strings.Repeat("s", 21<<10)
		}, "make the event smaller"},
		"events": {func(r *store.Record) { r.Events = slices.Repeat(r.Events, 105_000) }, "shorten"},
		"type":   {func(r *store.Record) { r.Events[0].Type = strings.Repeat("t", 2047) }, "shorter name"},
	} {
		r := w.record([]byte("a"))
		w.t--
		c.change(&r)
		err := s.Put(t.Context(), []store.Record{w.record([]byte("b")), r})
		w.t--
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), r.Command.String()) {
			t.Errorf("%s: %.300v", name, err)
		}
		if early := s.Check(&r); early == nil || early.Error() != strings.TrimPrefix(err.Error(), "put: ") {
			t.Errorf("%s: Check tells %.300v", name, early)
		}
	}
	fits.T = 0 // nor has one that is still to be accepted
	if err := s.Check(&fits); err != nil {
		t.Errorf("what fits: %v", err)
	}
	fits.T = 1
	if after := n.Count("BatchWriteItem") + n.Count("PutItem"); after != before {
		t.Errorf("%d requests wrote something", after-before)
	}
	logIs(t, s, []store.Record{fits})
}

// TestLargest puts items up to the last byte that is allowed, which checks that sizes are counted as DynamoDB counts them.
func TestLargest(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	r := w.record(make([]byte, 380<<10))
	taken := 0
	for size := 381 << 10; size < 400<<10; size += 1 << 10 {
		r.Events[0].Data = make([]byte, size)
		again := w.record(r.Events[0].Data)
		if err := s.Put(t.Context(), []store.Record{again}); err != nil {
			if !strings.Contains(err.Error(), "make the event smaller") {
				t.Fatalf("%d bytes were sent and refused: %v", size, err)
			}
			break
		}
		taken = size
	}
	if taken < 398<<10 {
		t.Errorf("%d bytes were the most that was taken", taken)
	}
}

// TestHalfWay stops a call before its log is written. Its records are not there, and the same call again completes them.
func TestHalfWay(t *testing.T) {
	for _, op := range []string{"BatchWriteItem", "PutItem"} {
		for _, way := range []string{"Put", "PutNew"} {
			t.Run(way+" without "+op, func(t *testing.T) {
				stop := true
				s, _ := newStore(t, func(c *dynamofaults.Call) (*http.Response, error) {
					if stop && c.Op == op && (op == "BatchWriteItem" || bytes.Contains(c.Body, []byte(`"lines"`))) {
						return c.Error(http.StatusBadRequest, "AccessDeniedException"), nil
					}
					return c.Pass()
				}, dynamo.Parallel(1))
				put := s.Put
				if way == "PutNew" {
					put = s.PutNew
				}
				w := newWorld()
				records := []store.Record{w.record([]byte("a"), []byte("b")), w.record(), w.record([]byte("c"))}
				if err := put(t.Context(), records); err == nil {
					t.Fatal("the call succeeded")
				}
				notThere(t, s, records)
				stop = false
				mustPut(t, put, records...)
				logIs(t, s, records)
				eventsAre(t, s, w.kind, records)
			})
		}
	}
}

// TestInvariant10Claimed offers other bytes under a command that a call which failed half-way has claimed.
func TestInvariant10Claimed(t *testing.T) {
	for _, payloads := range [][][]byte{nil, {[]byte("a"), []byte("b")}} {
		stop := true
		s, _ := newStore(t, func(c *dynamofaults.Call) (*http.Response, error) {
			if stop && bytes.Contains(c.Body, []byte(`"lines"`)) {
				return c.Error(http.StatusBadRequest, "AccessDeniedException"), nil
			}
			return c.Pass()
		})
		first := newWorld().record(payloads...)
		if err := s.Put(t.Context(), []store.Record{first}); err == nil {
			t.Fatal("the call succeeded")
		}
		stop = false
		second := first
		second.Key = "other"
		err := s.Put(t.Context(), []store.Record{second})
		if c, ok := errors.AsType[*store.ConflictError](err); !ok || c.Command != first.Command {
			t.Errorf("other bytes under a claimed command: %v", err)
		}
		mustPut(t, s.Put, first)
		logIs(t, s, []store.Record{first})
	}
}

// TestInvariant10Race has writers that put one command with different bytes at the same time. One of them wins, and the others learn it.
func TestInvariant10Race(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	for range 20 {
		first := w.record([]byte("a"))
		records := make([]store.Record, 4)
		errs := make([]error, len(records))
		var wg sync.WaitGroup
		for i := range records {
			records[i] = first
			records[i].Events = []store.Event{first.Events[0]}
			records[i].Events[0].Data = []byte{byte(i)}
			wg.Go(func() { errs[i] = s.Put(t.Context(), records[i:i+1]) })
		}
		wg.Wait()
		winners := 0
		for i, err := range errs {
			got, gone := s.Commit(t.Context(), first.Command)
			won := gone == nil && bytes.Equal(got.Append(nil), records[i].Append(nil))
			if _, refused := errors.AsType[*store.ConflictError](err); won != (err == nil) || refused == won {
				t.Errorf("writer %d got %v; what it put is there: %v", i, err, won)
			}
			if won {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("%d writers won", winners)
		}
	}
}

// TestTaken names both commands, from the log and from the same call.
func TestTaken(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	a := w.record([]byte("a"))
	w.t--
	b := w.record([]byte("b"))
	for range 2 {
		err := s.Put(t.Context(), []store.Record{a, b})
		taken, ok := errors.AsType[*dynamo.TakenError](err)
		if !ok || *taken != (dynamo.TakenError{Shard: a.Shard, T: 1, Stored: a.Command, Offered: b.Command}) {
			t.Errorf("Put gave %v", err)
		}
	}
	err := s.PutNew(t.Context(), []store.Record{b})
	if taken, ok := errors.AsType[*dynamo.TakenError](err); !ok || taken.Stored != a.Command {
		t.Errorf("PutNew gave %v", err)
	}
	logIs(t, s, []store.Record{a})
}

func notThere(t *testing.T, s store.Store, records []store.Record) {
	t.Helper()
	for r, err := range s.Log(t.Context(), records[0].Shard, 1) {
		t.Errorf("the log gave t %d, %v", r.T, err)
	}
	if last, err := s.Last(t.Context(), records[0].Shard); last != 0 || err != nil {
		t.Errorf("Last = %d, %v", last, err)
	}
	for _, r := range records {
		if _, err := s.Commit(t.Context(), r.Command); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Commit at t %d gave %v", r.T, err)
		}
	}
}

// TestGaps has gaps within a bucket of the log, of whole buckets, and at its front.
func TestGaps(t *testing.T) {
	for name, ts := range map[string][]uint64{
		"in a bucket": {1, 2, 4}, "next bucket": {1, 2, 1025}, "many buckets": {1, 2, 50_000}, "last of a bucket": {1, 2, 1024},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t, nil)
			records := newWorld().records(3)
			for i := range records {
				records[i].T = ts[i]
			}
			mustPut(t, s.Put, records...)
			logFails(t, s, records[0].Shard, 2, "t 3 is missing")
			if last, err := s.Last(t.Context(), records[0].Shard); err != nil || last != ts[2] {
				t.Errorf("Last = %d, %v", last, err)
			}
		})
	}
}

// TestLaggingReads has a table whose inconsistent reads see nothing yet.
func TestLaggingReads(t *testing.T) {
	lags := 0
	s, _ := newStore(t, func(c *dynamofaults.Call) (*http.Response, error) {
		if (c.Op == "BatchGetItem" || c.Op == "GetItem") && !bytes.Contains(c.Body, []byte(`"ConsistentRead":true`)) {
			lags++
			return c.Reply(http.StatusOK, `{"Responses":{}}`), nil
		}
		return c.Pass()
	})
	records := newWorld().records(3)
	mustPut(t, s.Put, records...)
	logIs(t, s, records)
	if lags == 0 {
		t.Error("every read was consistent")
	}
}

// TestTampered changes the table behind the store's back.
func TestTampered(t *testing.T) {
	for name, tamper := range map[string]func(*dynamodb.Client, *string, []store.Record) error{
		"payload": func(c *dynamodb.Client, table *string, rs []store.Record) error {
			it := dynamo.EventItem(t, &rs[1], 0)
			it["data"] = &types.AttributeValueMemberB{Value: []byte("other")}
			_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: table, Item: it})
			return err
		},
		"event gone": func(c *dynamodb.Client, table *string, rs []store.Record) error {
			it := dynamo.EventItem(t, &rs[1], 0)
			_, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: table,
				Key: map[string]types.AttributeValue{"id": it["id"], "n": it["n"]}})
			return err
		},
		"lines cut off": func(c *dynamodb.Client, table *string, rs []store.Record) error {
			it := dynamo.RunItem(rs[1])
			it["lines"] = &types.AttributeValueMemberB{Value: it["lines"].(*types.AttributeValueMemberB).Value[:20]}
			_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: table, Item: it})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t, nil)
			records := newWorld().records(2)
			mustPut(t, s.Put, records[:1]...)
			mustPut(t, s.Put, records[1:]...)
			if err := tamper(newClient(address(t), nil), aws.String(s.Table()), records); err != nil {
				t.Fatal(err)
			}
			n := 0
			var failed error
			for _, err := range s.Log(t.Context(), records[0].Shard, 1) {
				if failed = err; err == nil {
					n++
				}
			}
			if n > 1 || failed == nil || !strings.Contains(failed.Error(), "damaged") {
				t.Errorf("Log gave %d records, and %v", n, failed)
			}
		})
	}
}

// TestOverlap has two runs that overlap and agree, as two writers leave them that did not see each other.
func TestOverlap(t *testing.T) {
	s, _ := newStore(t, nil)
	records := newWorld().records(20)
	mustPut(t, s.Put, records...)
	_, err := newClient(address(t), nil).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.Table()), Item: dynamo.RunItem(records[4:6]...)})
	if err != nil {
		t.Fatal(err)
	}
	logIs(t, s, records)
	if last, err := s.Last(t.Context(), records[0].Shard); err != nil || last != 20 {
		t.Errorf("Last = %d, %v", last, err)
	}
	for _, r := range records {
		if got, err := s.Commit(t.Context(), r.Command); err != nil || got.T != r.T {
			t.Errorf("Commit at t %d gave t %d, %v", r.T, got.T, err)
		}
	}
	for r, err := range s.Log(t.Context(), records[0].Shard, 15) {
		if err != nil || r.T < 15 {
			t.Fatalf("Log from 15 gave t %d, %v", r.T, err)
		}
	}
	mustPut(t, s.Put, records[3:15]...)
	logIs(t, s, records)
}

// TestUnevenQuery has events of which most are in one partition of the index, and more than a page.
func TestUnevenQuery(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	many := func() (payloads [][]byte) {
		for i := range 1100 {
			payloads = append(payloads, []byte{byte(i), byte(i >> 8)})
		}
		return payloads
	}
	records := append([]store.Record{w.record(many()...)}, w.records(20)...)
	records = append(records, w.record(many()...))
	mustPut(t, s.PutNew, records...)
	logIs(t, s, records)
	eventsAre(t, s, w.kind, records)
}

// TestNumberedTwice has two runs that overlap and differ, as two broken writers can leave them.
func TestNumberedTwice(t *testing.T) {
	s, _ := newStore(t, nil)
	w := newWorld()
	records := w.records(5)
	mustPut(t, s.Put, records...)
	w.t = 2
	other := w.records(1)
	_, err := newClient(address(t), nil).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.Table()), Item: dynamo.RunItem(other...)})
	if err != nil {
		t.Fatal(err)
	}
	logFails(t, s, w.shard, 5, "is there twice")
}

// template is the first block of that language in the README.
func template(t *testing.T, language string) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```"+language+"\n")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !closed {
		t.Fatalf("the README has no block of %s", language)
	}
	return block
}

// TestCloudFormation makes the table as the README's template says. CloudFormation's names are those of the API.
func TestCloudFormation(t *testing.T) {
	url := address(t)
	var parsed struct {
		Resources struct {
			Events struct{ Properties dynamodb.CreateTableInput }
		}
	}
	d := json.NewDecoder(strings.NewReader(template(t, "json")))
	if err := d.Decode(&parsed); err != nil {
		t.Fatal(err)
	}
	in := parsed.Resources.Events.Properties
	in.TableName, in.DeletionProtectionEnabled = aws.String("test-"+uuid.NewString()), nil
	client := newClient(url, nil)
	if _, err := client.CreateTable(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	defer client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: in.TableName})
	s := dynamo.New(client, *in.TableName)
	if err := s.CreateTable(t.Context()); err != nil { // it checks what is there
		t.Error(err)
	}
	w := newWorld()
	records := w.records(20)
	if err := s.Put(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	logIs(t, s, records)
	eventsAre(t, s, w.kind, records)
}

// TestTerraform compares the README's resource with the table that CreateTable makes.
func TestTerraform(t *testing.T) {
	client, name := newClient(address(t), nil), newTable(t, address(t))
	out, err := client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("billing_mode = %q", out.Table.BillingModeSummary.BillingMode)}
	for _, a := range out.Table.AttributeDefinitions {
		want = append(want, fmt.Sprintf("attribute { name = %q type = %q }", *a.AttributeName, a.AttributeType))
	}
	keys := out.Table.KeySchema
	want = append(want, fmt.Sprintf("hash_key = %q range_key = %q", *keys[0].AttributeName, *keys[1].AttributeName))
	for _, i := range out.Table.GlobalSecondaryIndexes {
		want = append(want, fmt.Sprintf("global_secondary_index { name = %q hash_key = %q range_key = %q projection_type = %q }",
			*i.IndexName, *i.KeySchema[0].AttributeName, *i.KeySchema[1].AttributeName, i.Projection.ProjectionType))
	}
	resource := strings.Join(strings.Fields(template(t, "hcl")), " ")
	for _, part := range want {
		if !strings.Contains(resource, part) {
			t.Errorf("the resource has no %s: %s", part, resource)
		}
	}
}

func TestCreateTable(t *testing.T) {
	url := address(t)
	client, name := newClient(url, nil), newTable(t, url)
	if err := dynamo.New(client, name).CreateTable(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	other := name + "-other"
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: &other, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &other})
	if err := dynamo.New(client, other).CreateTable(t.Context()); err == nil || !strings.Contains(err.Error(), "no event store") {
		t.Errorf("another table: %v", err)
	}
	if _, err := dynamo.New(client, other).Last(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "as CreateTable makes them") {
		t.Errorf("it is used all the same: %v", err)
	}
}

// A table without the index takes everything, and is found out by the first Query.
func TestTableWithoutIndex(t *testing.T) {
	client, name := newClient(address(t), nil), "test-"+uuid.NewString()
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("n"), AttributeType: types.ScalarAttributeTypeN}},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("n"), KeyType: types.KeyTypeRange}}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name})
	s, w := dynamo.New(client, name), newWorld()
	mustPut(t, s.Put, w.record([]byte("a")))
	for _, err = range s.Query(t.Context(), store.Query{}) {
	}
	if err == nil || !strings.Contains(err.Error(), "index by-type") {
		t.Errorf("%v", err)
	}
}

// DescribeTable may know nothing yet of a table that was just made.
func TestCreateTableThatIsNotSeenAtOnce(t *testing.T) {
	var left atomic.Int32
	left.Store(2)
	url := address(t)
	n := dynamofaults.New(t, func(c *dynamofaults.Call) (*http.Response, error) {
		if c.Op == "DescribeTable" && left.Add(-1) >= 0 {
			return c.Error(http.StatusBadRequest, "ResourceNotFoundException"), nil
		}
		return c.Pass()
	})
	if err := dynamo.New(newClient(url, n), newTable(t, url)).CreateTable(t.Context()); err != nil || left.Load() >= 0 {
		t.Errorf("%v", err)
	}
}
