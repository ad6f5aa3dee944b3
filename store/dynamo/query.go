package dynamo

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/store"
)

// How many entries a query holds in memory at once, in all of its streams and in one.
const (
	bufferedEntries = 8000
	pageEntries     = 500
)

// Query gives events by type and time. It reads an index that follows the table, as a rule within a second: what was put a
// moment ago may be missing. Each event comes once, in order. A query for all types asks for each type that was ever put.
func (s *Store) Query(ctx context.Context, q store.Query) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		m, err := s.newMerge(ctx, q)
		for n := 0; q.Limit <= 0 || n < q.Limit; n++ {
			var e *store.Entry
			if err == nil {
				e, err = m.next(ctx)
			}
			switch {
			case err != nil:
				yield(store.Entry{}, fmt.Errorf("query: %w", err))
				return
			case e == nil || !yield(*e, nil):
				return
			}
		}
	}
}

func (s *Store) newMerge(ctx context.Context, q store.Query) (*merge, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.From.IsZero() {
		from = ceilMilli(q.From)
	}
	if !q.To.IsZero() {
		to = ceilMilli(q.To)
	}
	m := &merge{store: s}
	if from >= to {
		return m, nil
	}
	m.lo, m.hi = timeBounds(from, to, q.To.IsZero())
	kinds := []string{typeKey(q.Type)}
	if q.Type == "" {
		var err error
		if kinds, err = s.typeKeys(ctx); err != nil {
			return nil, err
		}
	}
	m.open(kinds, q.Limit)
	return m, nil
}

// ceilMilli is the first whole millisecond that is not before t.
func ceilMilli(t time.Time) int64 {
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		return t.UnixMilli() + 1
	}
	return t.UnixMilli()
}

// stream is what one partition of the index has.
type stream struct {
	partition string
	page      []store.Entry
	start     item // where the next page starts; nil at the beginning
	done      bool
}

// merge gives the entries of all streams in one order.
type merge struct {
	store  *Store
	lo, hi []byte
	want   int // entries of one page
	all    []*stream
	heap   streams // those that have a page
}

func (m *merge) open(typeKeys []string, limit int) {
	for _, k := range typeKeys {
		for n := range uint64(spread) {
			m.all = append(m.all, &stream{partition: partition(k, n)})
		}
	}
	m.want = min(max(bufferedEntries/max(len(m.all), 1), 10), pageEntries)
	if limit > 0 {
		m.want = min(m.want, limit)
	}
}

// next is the next entry, or nil at the end.
func (m *merge) next(ctx context.Context) (*store.Entry, error) {
	if err := m.store.ready(ctx); err != nil {
		return nil, err
	}
	if err := m.advance(ctx); err != nil || len(m.heap) == 0 {
		return nil, err
	}
	e := &m.heap[0].page[0]
	m.heap[0].page = m.heap[0].page[1:]
	return e, nil
}

// advance puts the stream with the next entry in front.
func (m *merge) advance(ctx context.Context) error {
	switch {
	case len(m.heap) == 0 || len(m.heap[0].page) == 0 && !m.heap[0].done:
		return m.refill(ctx)
	case len(m.heap[0].page) == 0:
		heap.Pop(&m.heap)
	default:
		heap.Fix(&m.heap, 0)
	}
	return nil
}

// refill reads the next page of every stream that is low, because all of them run low at the same time.
func (m *merge) refill(ctx context.Context) error {
	var low []*stream
	for _, st := range m.all {
		if !st.done && len(st.page) <= m.want/2 {
			low = append(low, st)
		}
	}
	err := m.store.each(ctx, len(low), func(ctx context.Context, i int) error { return m.read(ctx, low[i]) })
	m.heap = m.heap[:0]
	for _, st := range m.all {
		if len(st.page) > 0 {
			m.heap = append(m.heap, st)
		}
	}
	heap.Init(&m.heap)
	return err
}

// read goes on until there is something, or nothing more.
func (m *merge) read(ctx context.Context, st *stream) error {
	for more := true; more; more = len(st.page) == 0 && !st.done {
		out, err := call(ctx, m.store, m.store.client.Query, m.input(st))
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			e, err := entryOf(it)
			if err != nil {
				return err
			}
			st.page = append(st.page, e)
		}
		st.start, st.done = out.LastEvaluatedKey, len(out.LastEvaluatedKey) == 0
	}
	return nil
}

func (m *merge) input(st *stream) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: &m.store.table, IndexName: aws.String(byTypeIndex), Limit: aws.Int32(int32(m.want)), ExclusiveStartKey: st.start,
		KeyConditionExpression: aws.String("byType = :type AND byTime BETWEEN :lo AND :hi"),
		ExpressionAttributeValues: item{
			":type": &types.AttributeValueMemberS{Value: st.partition}, ":lo": binary(m.lo), ":hi": binary(m.hi),
		},
	}
}

// streams is a heap by the entries in front.
type streams []*stream

func (h streams) Len() int { return len(h) }
func (h streams) Less(i, j int) bool {
	return compareEntries(&h[i].page[0], &h[j].page[0]) < 0
}
func (h streams) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *streams) Push(x any)   { *h = append(*h, x.(*stream)) }
func (h *streams) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
