package dynamo

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB's limits of one request.
const (
	writeBatch = 25
	readBatch  = 100
)

// write puts items without a condition, until all are done.
func (s *Store) write(ctx context.Context, items []item) error {
	parts := slices.Collect(slices.Chunk(items, writeBatch))
	return s.each(ctx, len(parts), func(ctx context.Context, i int) error {
		return s.writePart(ctx, parts[i])
	})
}

func (s *Store) writePart(ctx context.Context, items []item) error {
	left := make([]types.WriteRequest, len(items))
	for i, it := range items {
		left[i].PutRequest = &types.PutRequest{Item: it}
	}
	return s.retry(ctx, func(ctx context.Context) error {
		in := dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{s.table: left}}
		out, err := s.client.BatchWriteItem(ctx, &in, once)
		if err != nil {
			return err
		}
		all := len(left)
		if left = out.UnprocessedItems[s.table]; len(left) > 0 {
			return &partError{done: all - len(left), left: len(left)}
		}
		return nil
	})
}

// read gets items by their keys, and calls take with each that is there, in any order. It sees what was written before when it is
// consistent, and may miss some of it at half the price otherwise.
func (s *Store) read(ctx context.Context, keys []item, consistent bool, take func(item) error) error {
	parts := slices.Collect(slices.Chunk(keys, readBatch))
	found := make([][]item, len(parts))
	err := s.each(ctx, len(parts), func(ctx context.Context, i int) (err error) {
		found[i], err = s.readPart(ctx, parts[i], consistent)
		return err
	})
	for _, items := range found {
		for _, it := range items {
			if err == nil {
				err = take(it)
			}
		}
	}
	return err
}

func (s *Store) readPart(ctx context.Context, left []item, consistent bool) (found []item, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		in := dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{s.table: {Keys: left, ConsistentRead: &consistent}}}
		out, err := s.client.BatchGetItem(ctx, &in, once)
		if err != nil {
			return err
		}
		found = append(found, out.Responses[s.table]...)
		all := len(left)
		if left = out.UnprocessedKeys[s.table].Keys; len(left) > 0 {
			return &partError{done: all - len(left), left: len(left)}
		}
		return nil
	})
	return found, err
}
