package dynamo_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/cqrs-server/cqrs/store/storetest"
	"github.com/google/uuid"
)

const addressEnv = "CQRS_DYNAMODB"

// address is the URL of a DynamoDB Local.
func address(t testing.TB) string {
	t.Helper()
	url := os.Getenv(addressEnv)
	if url == "" {
		t.Skipf("DynamoDB Local is needed: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (%s is not set)", addressEnv)
	}
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	return url
}

func newClient(url string, transport http.RoundTripper) *dynamodb.Client {
	o := dynamodb.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	if transport != nil {
		o.HTTPClient = &http.Client{Transport: transport}
	}
	return dynamodb.New(o)
}

// newStore is a store on a new table behind a network with a fault.
func newStore(t testing.TB, f dynamofaults.Fault, options ...dynamo.Option) (*dynamo.Store, *dynamofaults.Network) {
	t.Helper()
	url := address(t)
	n := dynamofaults.New(t, f)
	return dynamo.New(newClient(url, n), newTable(t, url), options...), n
}

// newTable makes a table for the test, and takes it away at the end.
func newTable(t testing.TB, url string) string {
	t.Helper()
	client, name := newClient(url, nil), "test-"+uuid.NewString()
	if err := dynamo.New(client, name).CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
			t.Logf("the table stays: %v", err)
		}
	})
	return name
}

// The segment of the events in the contract's tests, and another. With the first as the usual one, records have their anchors in
// their first events, and with the other in items of their own.
const (
	inEvent  = "1"
	ofItsOwn = "0"
)

func TestContract(t *testing.T) {
	contract(t, inEvent, func(*testing.T) {})
}

// TestContractOwnAnchors runs what of the contract depends on anchors.
func TestContractOwnAnchors(t *testing.T) {
	contract(t, ofItsOwn, func(t *testing.T) {
		_, name, _ := strings.Cut(t.Name(), "/")
		if group, _, _ := strings.Cut(name, "/"); group == "log" || group == "query" || name == "put/many_records" {
			t.Skip("it does not depend on anchors, and TestContract runs it")
		}
	})
}

func contract(t *testing.T, segment string, choose func(*testing.T)) {
	url := address(t)
	client, table := newClient(url, nil), newTable(t, url)
	open := func(t *testing.T) store.Store {
		choose(t)
		s := dynamo.New(client, table, dynamo.UsualSegment(segment))
		t.Cleanup(func() { s.Close() })
		return s
	}
	storetest.Run(t, storetest.Features{
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t)
		},
	}, open)
}

// newOnly is a store whose Put is PutNew.
type newOnly struct{ *dynamo.Store }

func (s newOnly) Put(ctx context.Context, records []store.Record) error {
	return s.PutNew(ctx, records)
}

// TestContractPutNew runs all of the contract on the cheap way. One test breaks what PutNew asks of its caller: it puts a
// command again at another t.
func TestContractPutNew(t *testing.T) {
	url := address(t)
	client, table := newClient(url, nil), newTable(t, url)
	storetest.Run(t, storetest.Features{}, func(t *testing.T) store.Store {
		if strings.HasSuffix(t.Name(), "conflict/another_t") {
			t.Skip("the caller of PutNew guarantees that no command comes at another t")
		}
		return newOnly{dynamo.New(client, table, dynamo.UsualSegment(ofItsOwn))}
	})
}
