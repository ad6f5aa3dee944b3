package dynamo

import (
	"context"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// partQuery asks for the items of one partition whose n is from lo to hi.
type partQuery struct {
	id        string
	lo, hi    uint64
	backwards bool
	page      int // items of one request; 0 means as many as fit
}

// items gives what is there now, page by page.
func (s *Store) items(ctx context.Context, q partQuery) iter.Seq2[item, error] {
	in := &dynamodb.QueryInput{
		TableName: &s.table, ConsistentRead: &yes, ScanIndexForward: aws.Bool(!q.backwards),
		KeyConditionExpression: aws.String("id = :id AND n BETWEEN :lo AND :hi"),
		ExpressionAttributeValues: item{
			":id": &types.AttributeValueMemberS{Value: q.id}, ":lo": unsigned(q.lo), ":hi": unsigned(q.hi),
		},
	}
	if q.page > 0 {
		in.Limit = aws.Int32(int32(q.page))
	}
	return func(yield func(item, error) bool) {
		for more := true; more; more = len(in.ExclusiveStartKey) > 0 {
			out, err := call(ctx, s, s.client.Query, in)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, it := range out.Items {
				if !yield(it, nil) {
					return
				}
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
}

// runQuery asks for the runs of a bucket that start from lo to hi.
type runQuery struct {
	bucket    bucket
	lo, hi    uint64
	backwards bool
	page      int
}

func (s *Store) runs(ctx context.Context, q runQuery) iter.Seq2[run, error] {
	return func(yield func(run, error) bool) {
		for it, err := range s.items(ctx, partQuery{q.bucket.id(), q.lo, q.hi, q.backwards, q.page}) {
			var r run
			if err == nil {
				r, err = runOf(q.bucket, it)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Last is the greatest t of a shard, or 0. It takes two round trips.
func (s *Store) Last(ctx context.Context, shard int) (uint64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	if shard < 0 {
		return 0, nil
	}
	for it, err := range s.items(ctx, partQuery{id: bucketsID(shard), hi: maxBucket, backwards: true, page: 4}) {
		if err != nil {
			return 0, err
		}
		f := fields{item: it}
		b := bucket{shard, f.unsigned("n")}
		if f.err != nil {
			return 0, f.err
		}
		if t, err := s.lastOf(ctx, b); t > 0 || err != nil {
			return t, err
		}
	}
	return 0, nil
}

const maxBucket = 1<<64/bucketSize - 1

// lastOf is the greatest t of a bucket, or 0 when nothing is in it yet. The run that starts last need not end last, because
// writers who knew nothing of each other may have cut the same commits in different ways.
func (s *Store) lastOf(ctx context.Context, b bucket) (last uint64, err error) {
	q := runQuery{bucket: b, lo: b.first(), hi: b.last(), backwards: true, page: runLines}
	for r, err := range s.runs(ctx, q) {
		if err != nil {
			return 0, err
		}
		if last > 0 && r.first+runLines <= last {
			break
		}
		last = max(last, r.end())
	}
	return last, nil
}
