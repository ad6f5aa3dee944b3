package dynamo

import (
	"context"
	"hash/fnv"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The event types that were ever put, in a few items, so that a query for all types knows where to look.
const (
	kindsID    = "types"
	kindsParts = 64
)

// learn enters the types of a batch into the table's list before the first of their events is there.
func (s *Store) learn(ctx context.Context, b *batch) error {
	parts := s.unknown(b)
	return s.each(ctx, len(parts), func(ctx context.Context, i int) error {
		_, err := call(ctx, s, s.client.UpdateItem, &dynamodb.UpdateItemInput{
			TableName: &s.table, Key: key(kindsID, uint64(partOf(parts[i][0]))),
			UpdateExpression:          aws.String("ADD kinds :kinds"),
			ExpressionAttributeValues: item{":kinds": &types.AttributeValueMemberSS{Value: parts[i]}},
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, k := range parts[i] {
			s.kinds[k] = true
		}
		return nil
	})
}

// unknown are the types that may not be in the list, one slice for each item of it.
func (s *Store) unknown(b *batch) (parts [][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byPart := map[int][]string{}
	for _, e := range b.open() {
		for i := range e.record.Events {
			name := listName(e.record.Events[i].Type)
			if p := partOf(name); !s.kinds[name] && !slices.Contains(byPart[p], name) {
				byPart[p] = append(byPart[p], name)
			}
		}
	}
	for _, names := range byPart {
		parts = append(parts, names)
	}
	return parts
}

// listName is a type's key in the list, where a string must not be empty.
func listName(kind string) string { return "/" + typeKey(kind) }

func partOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() % kindsParts)
}

// typeKeys are the keys of all types.
func (s *Store) typeKeys(ctx context.Context) (keys []string, err error) {
	for it, err := range s.items(ctx, partQuery{id: kindsID, hi: kindsParts}) {
		if err != nil {
			return nil, err
		}
		if set, ok := it["kinds"].(*types.AttributeValueMemberSS); ok {
			for _, name := range set.Value {
				keys = append(keys, name[1:])
			}
		}
	}
	return keys, nil
}
