package servers

import (
	"fmt"
	"os"
	"time"
)

// TB is what ForTest needs of a *testing.T.
type TB interface {
	Helper()
	Skip(args ...any)
}

// ForTest are flags for the servers that make test starts, with topics and a table of the test's own. Without servers the test is skipped.
func ForTest(t TB) Flags {
	t.Helper()
	f := Flags{Kafka: os.Getenv("CQRS_KAFKA"), DynamoDB: os.Getenv("CQRS_DYNAMODB"), Create: true}
	if f.Kafka == "" || f.DynamoDB == "" {
		t.Skip("it needs Kafka and DynamoDB: make test starts them, and CQRS_KAFKA and CQRS_DYNAMODB name them")
	}
	f.Prefix = fmt.Sprintf("example-%x-", time.Now().UnixNano())
	return f
}

// Args are the flags as arguments, for a process of its own.
func (f Flags) Args() []string {
	list := []string{"-kafka", f.Kafka, "-dynamodb", f.DynamoDB, "-prefix", f.Prefix, fmt.Sprintf("-create=%v", f.Create)}
	if f.Shards > 0 {
		list = append(list, "-shards", fmt.Sprint(f.Shards))
	}
	return list
}
