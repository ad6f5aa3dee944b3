package cqrs_test

import (
	"context"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store/dynamo"
)

// On Kafka and DynamoDB: the same program, and two lines more. What is closed last is what was opened first.
func Example_moreThanOneMachine() {
	ctx := context.Background()
	queue, err := kafka.Open(ctx, []string{"kafka-1:9092", "kafka-2:9092"}, kafka.Prefix("shop-"), kafka.Shards(4))
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	store := dynamo.New(dynamodb.NewFromConfig(aws), "shop-events")

	cfg := counterConfig()
	cfg.Queue = queue // topics: queue.CreateTopics(ctx, cqrs.Topics()...), once
	cfg.Store = store // table: store.CreateTable(ctx), once
	rt, err := cqrs.Open("data/shop", cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	if err := rt.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func TestReadmeShowsTheTwoLines(t *testing.T) {
	code, err := os.ReadFile("example_servers_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## More than one machine")
	_, section, _ = strings.Cut(section, "```go\n")
	lines, _, _ := strings.Cut(section, "```")
	n := 0
	for line := range strings.Lines(lines) {
		if n++; !strings.Contains(string(code), "\t"+line) {
			t.Errorf("the example does not have the line %q", line)
		}
	}
	if n < 4 {
		t.Errorf("%d lines", n)
	}
}
