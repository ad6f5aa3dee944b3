package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/google/uuid"
)

// The store on DynamoDB, as the owner of a shard fills it, a batch at a time, against one conditional PutItem for each event, ten at a time. It
// is the client's CPU that is measured: DynamoDB Local is much slower than the service.

const (
	dynamoBatch = 500
	dynamoWays  = 10 // requests at a time
)

var dynamoCPU = benchmark{
	goals: []goal{atMost("dynamo-vs-conditional-put-cpu", 0.12, 0.08), shown("dynamo-vs-conditional-put-rate")},
	needs: func(*env) string {
		if os.Getenv(dynamoVariable) == "" {
			return "it needs a DynamoDB, which " + dynamoVariable + " names"
		}
		return ""
	},
	run: func(e *env) ([]float64, error) {
		n := min(e.n/10, 10_000)
		pairs, err := race(e, e.rounds,
			contender{"store/dynamo", func(int) (usage, error) { return runStore(n) }},
			contender{"a conditional put each", func(int) (usage, error) { return runPuts(n) }})
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.cpuEach), ratio(pairs, usage.rate)}, nil
	},
}

func dynamoClient() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(os.Getenv(dynamoVariable)),
		Credentials: credentials.NewStaticCredentialsProvider("bench", "bench", ""),
	})
}

// someRecords are commits of one event each.
func someRecords(n int) ([]store.Record, error) {
	w, err := newWork(n, 0)
	if err != nil {
		return nil, err
	}
	list := make([]store.Record, n)
	for i := range list {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(w.view(i))
		if err != nil {
			return nil, err
		}
		list[i] = store.Record{
			Envelope: store.Envelope{T: uint64(i + 1), Command: id, CommandType: "page/view", Time: 1_700_000_000_000 + int64(i), Code: "NA"},
			Prev:     make([]byte, 32),
			Events:   []store.Event{{ID: cqrs.EventID(id, 0, "0"), Segment: "0", Type: "page/viewed", Data: data}},
		}
	}
	return list, nil
}

func runStore(n int) (usage, error) {
	ctx := context.Background()
	records, err := someRecords(n)
	if err != nil {
		return usage{}, err
	}
	s := dynamo.New(dynamoClient(), newTopic("store"))
	if err := s.CreateTable(ctx); err != nil {
		return usage{}, err
	}
	u, err := measure(n, func() error {
		for from := 0; from < n; from += dynamoBatch {
			if err := s.PutNew(ctx, records[from:min(from+dynamoBatch, n)]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = checkStored(ctx, s, records)
	}
	return u, errors.Join(err, s.Close())
}

// checkStored reads everything back.
func checkStored(ctx context.Context, s store.Store, records []store.Record) error {
	n := 0
	for r, err := range s.Log(ctx, 0, 1) {
		if err != nil {
			return err
		}
		if n == len(records) || r.Command != records[n].Command {
			return errors.New("the log in DynamoDB is not what was put")
		}
		n++
	}
	if n != len(records) {
		return errors.New("the log in DynamoDB is too short")
	}
	return nil
}

func runPuts(n int) (usage, error) {
	ctx, client, table := context.Background(), dynamoClient(), newTopic("puts")
	records, err := someRecords(n)
	if err != nil {
		return usage{}, err
	}
	_, err = client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeB}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		return usage{}, err
	}
	var put atomic.Int64
	u, err := measure(n, func() error {
		return each(n, dynamoWays, func(i int) error {
			put.Add(1)
			return putOne(ctx, client, table, &records[i])
		})
	})
	if err == nil && put.Load() != int64(n) {
		err = errors.New("not all were put")
	}
	return u, err
}

func putOne(ctx context.Context, client *dynamodb.Client, table string, r *store.Record) error {
	e := &r.Events[0]
	_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &table, ConditionExpression: aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberB{Value: e.ID[:]}, "type": &types.AttributeValueMemberS{Value: e.Type},
			"command": &types.AttributeValueMemberB{Value: r.Command[:]}, "data": &types.AttributeValueMemberB{Value: e.Data},
		},
	})
	return err
}
