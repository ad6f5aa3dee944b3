package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// CreateTable makes the table and its index, billed by request, and waits until both can be used. A table that is there
// already is left as it is; when it is not made as this one would be, that is an error.
func (s *Store) CreateTable(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := call(ctx, s, s.client.CreateTable, s.tableInput())
	if _, there := errors.AsType[*types.ResourceInUseException](err); err != nil && !there {
		return fmt.Errorf("create table: %w", err)
	}
	for began := time.Now(); ; {
		out, err := call(ctx, s, s.client.DescribeTable, &dynamodb.DescribeTableInput{TableName: &s.table})
		_, unseen := errors.AsType[*types.ResourceNotFoundException](err)
		switch {
		case unseen && time.Since(began) < seenWithin:
		case err != nil:
			return fmt.Errorf("create table: %w", err)
		default:
			if err := s.checkTable(out.Table); err != nil || active(out.Table) {
				return err
			}
		}
		if !wait(ctx, 500*time.Millisecond) {
			return fmt.Errorf("create table %s: it is not active yet: %w", s.table, ctx.Err())
		}
	}
}

// seenWithin is how long DescribeTable may know nothing of a table that was made: it is eventually consistent.
const seenWithin = 30 * time.Second

func (s *Store) tableInput() *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: &s.table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			attribute("id", types.ScalarAttributeTypeS), attribute("n", types.ScalarAttributeTypeN),
			attribute("byType", types.ScalarAttributeTypeS), attribute("byTime", types.ScalarAttributeTypeB),
		},
		KeySchema: keySchema("id", "n"),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String(byTypeIndex), KeySchema: keySchema("byType", "byTime"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
	}
}

func attribute(name string, t types.ScalarAttributeType) types.AttributeDefinition {
	return types.AttributeDefinition{AttributeName: &name, AttributeType: t}
}

func keySchema(hash, rng string) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: &hash, KeyType: types.KeyTypeHash}, {AttributeName: &rng, KeyType: types.KeyTypeRange},
	}
}

// checkTable compares what is there with what CreateTable makes.
func (s *Store) checkTable(t *types.TableDescription) error {
	want := s.tableInput()
	if !sameAttributes(t.AttributeDefinitions, want.AttributeDefinitions) || !sameKeys(t.KeySchema, want.KeySchema) {
		return s.otherTable("its key is not id (S) and n (N)")
	}
	for _, index := range t.GlobalSecondaryIndexes {
		if aws.ToString(index.IndexName) == byTypeIndex {
			if !sameKeys(index.KeySchema, want.GlobalSecondaryIndexes[0].KeySchema) || index.Projection == nil ||
				index.Projection.ProjectionType != types.ProjectionTypeAll {
				return s.otherTable("its index " + byTypeIndex + " is not by byType (S) and byTime (B) with all attributes")
			}
			return nil
		}
	}
	return s.otherTable("it has no index " + byTypeIndex)
}

func (s *Store) otherTable(problem string) error {
	return fmt.Errorf("store: table %s is there and is no event store: %s: use another name, or make it as the README says", s.table, problem)
}

// sameAttributes tells whether all that are wanted are there. A table may have more, for indexes of its owner's.
func sameAttributes(have, want []types.AttributeDefinition) bool {
	kinds := map[string]types.ScalarAttributeType{}
	for _, a := range have {
		kinds[aws.ToString(a.AttributeName)] = a.AttributeType
	}
	for _, a := range want {
		if kinds[*a.AttributeName] != a.AttributeType {
			return false
		}
	}
	return true
}

func sameKeys(have, want []types.KeySchemaElement) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		if aws.ToString(have[i].AttributeName) != *want[i].AttributeName || have[i].KeyType != want[i].KeyType {
			return false
		}
	}
	return true
}

func active(t *types.TableDescription) bool {
	for _, index := range t.GlobalSecondaryIndexes {
		if index.IndexStatus != types.IndexStatusActive {
			return false
		}
	}
	return t.TableStatus == types.TableStatusActive
}
