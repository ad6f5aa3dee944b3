package cqrs_test

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store/bolt"
	"github.com/twmb/franz-go/pkg/kfake"
)

// The tests below hold for every medium. Those on a queue or a store of their own run them again, as
// TestMedia/<medium>/<test>; start finds the medium in the test's name.

var onEveryMedium = map[string]func(*testing.T){
	"CommandBecomesEventAndView":             TestCommandBecomesEventAndView,
	"RepeatedCommandDoesNothing":             TestRepeatedCommandDoesNothing,
	"OtherPayloadUnderTheSameIDIsRefused":    TestOtherPayloadUnderTheSameIDIsRefused,
	"RefusalIsForEver":                       TestRefusalIsForEver,
	"CommandWithoutEvents":                   TestCommandWithoutEvents,
	"ErrorsByLevel":                          TestErrorsByLevel,
	"RemarkTravelsBesideTheEvents":           TestRemarkTravelsBesideTheEvents,
	"FailedFoldLeavesNothing":                TestFailedFoldLeavesNothing,
	"SystemErrorIsTriedAgainInOrder":         TestSystemErrorIsTriedAgainInOrder,
	"RetriesCanHaveALimit":                   TestRetriesCanHaveALimit,
	"DecisionThatCannotReadStopsNobody":      TestDecisionThatCannotReadStopsNobody,
	"DeadLetterIsSentAgainEdited":            TestDeadLetterIsSentAgainEdited,
	"DeadLetterOfACloudEvent":                TestDeadLetterOfACloudEventIsSentAgainEdited,
	"UnreadableMessageIsADeadLetter":         TestUnreadableMessageIsADeadLetterThatKeepsItsBytes,
	"BadDataIsAValidationError":              TestBadDataIsAValidationError,
	"BasisAhead":                             TestBasisAhead,
	"NewIDsAndRandomNumbersAreTheCommands":   TestNewIDsAndRandomNumbersAreTheCommands,
	"ReceiptsBeyondTheBoundFindTheirOutcome": TestReceiptsBeyondTheBoundFindTheirOutcome,
	"ConcurrentSenders":                      TestConcurrentSenders,
	"Shards":                                 TestShards,
	"AuditOfTheSameCode":                     TestAuditOfTheSameCodeGivesNoDifference,
	"AuditOfSeveralShards":                   TestAuditOfSeveralShards,
	"ScrubOfSoundData":                       TestScrubOfSoundDataFindsNothing,
	"NextVersion":                            TestNextVersionTakesOverWhileCommandsFlow,
}

func TestMedia(t *testing.T) {
	media := map[string]func(*testing.T) []string{
		"store": func(*testing.T) []string { return nil }, "fake": fakeKafka, "real": realKafka,
	}
	for medium, brokers := range media {
		t.Run(medium, func(t *testing.T) {
			t.Setenv("CQRS_TEST_BROKERS", strings.Join(brokers(t), ","))
			for name, test := range onEveryMedium {
				t.Run(name, test)
			}
		})
	}
}

// addMedia gives a test under TestMedia its queue and store, by the name of its medium. What is kept belongs to dir, so that
// a runtime that is opened again finds it.
func addMedia(t *testing.T, dir string, cfg *cqrs.Config) (closeMedia func() error) {
	t.Helper()
	path := strings.Split(t.Name(), "/")
	if path[0] != "TestMedia" {
		return func() error { return nil }
	}
	if path[1] == "store" {
		return addStore(t, dir, cfg)
	}
	return addQueue(t, dir, cfg, strings.Split(os.Getenv("CQRS_TEST_BROKERS"), ","))
}

func addStore(t *testing.T, dir string, cfg *cqrs.Config) func() error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(filepath.Join(dir, "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store = s
	return s.Close
}

func addQueue(t *testing.T, dir string, cfg *cqrs.Config, brokers []string) func() error {
	h := fnv.New64a()
	h.Write([]byte(dir))
	q := openKafka(t, brokers, fmt.Sprintf("t%x-", h.Sum64()), max(cfg.Shards, 1))
	cfg.Queue = q
	return q.Close
}

func openKafka(t *testing.T, brokers []string, prefix string, shards int, more ...kafka.Option) *kafka.Queue {
	t.Helper()
	options := append([]kafka.Option{kafka.Prefix(prefix), kafka.Shards(shards), kafka.Config(kafkaConfig())}, more...)
	q, err := kafka.Open(t.Context(), brokers, options...)
	if err == nil {
		err = q.CreateTopics(t.Context(), cqrs.Topics()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// kafkaConfig has the group give up on a process sooner.
func kafkaConfig() *sarama.Config {
	config := kafka.NewConfig()
	config.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	return config
}

// fakeKafka is a cluster in this process.
func fakeKafka(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// realKafka is the cluster that make test starts.
func realKafka(t *testing.T) []string {
	t.Helper()
	brokers := os.Getenv("CQRS_KAFKA")
	if brokers == "" {
		t.Skip("it needs a Kafka: make test starts one, and CQRS_KAFKA names it")
	}
	return strings.Split(brokers, ",")
}
