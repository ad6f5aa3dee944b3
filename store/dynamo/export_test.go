package dynamo

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/store"
)

// EventItem is the item that the store makes of an event.
func EventItem(t testing.TB, r *store.Record, i int) map[string]types.AttributeValue {
	it, err := eventItem(r, i, digest{})
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// UsualSegment changes the segment whose first events are anchors.
func UsualSegment(segment string) Option { return func(s *Store) { s.segment = segment } }

// Table is the name of the table.
func (s *Store) Table() string { return s.table }

// LongestPause changes how long the pauses between attempts become.
func LongestPause(d time.Duration) Option { return func(s *Store) { s.longest = d } }

// RunItem is the item with the lines of records that follow one another.
func RunItem(records ...store.Record) map[string]types.AttributeValue {
	var m lineMaker
	var lines []byte
	for i := range records {
		_, line := m.line(&records[i])
		lines = append(lines, line...)
	}
	first := &records[0]
	return runItem(bucketAt(first.Shard, first.T), first.T, len(records), lines)
}
