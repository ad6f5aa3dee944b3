//go:build unix

package dynamo_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/google/uuid"
)

// BenchmarkCost compares what the client pays for an event, in processor time, with one conditional PutItem for each event.
// The ratio is the figure to watch; the rates are those of the server.
func BenchmarkCost(b *testing.B) {
	url := address(b)
	client, table := newClient(url, nil), newTable(b, url)
	s := dynamo.New(client, table)
	ways := []struct {
		name string
		put  func([]store.Record) error
	}{
		{"PutItem", func(rs []store.Record) error { return putItems(b, client, table, rs) }},
		{"Put", func(rs []store.Record) error { return s.Put(b.Context(), rs) }},
		{"PutNew", func(rs []store.Record) error { return s.PutNew(b.Context(), rs) }},
	}
	spent, wall := make([]time.Duration, len(ways)), make([]time.Duration, len(ways))
	const batch = 500
	worlds := []*world{newWorld(), newWorld(), newWorld()} // each way has a log of its own, which goes on
	events := 0
	for b.Loop() {
		events += batch
		for i, way := range ways {
			rs := worlds[i].records(batch)
			start, at := processor(b), time.Now()
			if err := way.put(rs); err != nil {
				b.Fatal(err)
			}
			spent[i] += processor(b) - start
			wall[i] += time.Since(at)
		}
	}
	for i, way := range ways {
		b.ReportMetric(float64(spent[i].Microseconds())/float64(events), way.name+"-cpu-us/event")
		b.ReportMetric(float64(events)/wall[i].Seconds(), way.name+"-events/s")
		b.ReportMetric(float64(spent[i])/float64(spent[0]), way.name+"-ratio")
	}
}

// putItems is the plain way: each event by a conditional request of its own, one after the other.
func putItems(b *testing.B, client *dynamodb.Client, table string, rs []store.Record) error {
	var errs []error
	for i := range rs {
		it := dynamo.EventItem(b, &rs[i], 0)
		it["id"] = &types.AttributeValueMemberS{Value: uuid.NewString()}
		_, err := client.PutItem(b.Context(), &dynamodb.PutItemInput{
			TableName: &table, Item: it, ConditionExpression: aws.String("attribute_not_exists(id)"),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
