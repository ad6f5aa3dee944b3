package bolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/queuetest"
)

const childEnv = "QUEUE_BOLT_TEST_CHILD"

// children are what this test binary does when it is started again as a child process.
var children = map[string]func(path string) error{"append": appendUntilKilled, "full": fillDisk}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestContract(t *testing.T) {
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) {
			dirs := map[queue.Queue]string{}
			openIn := func(t *testing.T, dir string) queue.Queue {
				q := openDir(t, dir, shards)
				dirs[q] = dir
				return q
			}
			queuetest.Run(t, queuetest.Features{
				Shards: shards, DenseOffsets: true, Trim: true,
				Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
					must(t, q.Close())
					return openIn(t, dirs[q])
				},
			}, func(t *testing.T) queue.Queue { return openIn(t, t.TempDir()) })
		})
	}
}

// The same on files that belong to somebody else and stay open.
func TestContractOnFiles(t *testing.T) {
	files := []*boltfile.File{openFor(t, "a.db"), openFor(t, "b.db")}
	on := func(t *testing.T) queue.Queue {
		q := On(files...)
		t.Cleanup(func() { must(t, q.Close()) })
		return q
	}
	queuetest.Run(t, queuetest.Features{
		Shards: 2, DenseOffsets: true, Trim: true,
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			must(t, q.Close())
			return on(t)
		},
	}, on)
}

func openDir(t *testing.T, dir string, shards int) *Queue {
	t.Helper()
	q, err := Open(dir, shards)
	must(t, err)
	t.Cleanup(func() { must(t, q.Close()) })
	return q
}

// openFor opens a file as the runtime would, for more than a queue.
func openFor(t *testing.T, name string) *boltfile.File {
	t.Helper()
	f, err := boltfile.Open(filepath.Join(t.TempDir(), name), boltfile.Options{Kind: "shard"})
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soon gives what a channel brings.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func texts(values ...string) (msgs []queue.Message) {
	for _, v := range values {
		msgs = append(msgs, queue.Message{Time: 1, Key: []byte("key"), Value: []byte(v)})
	}
	return msgs
}

func appendTo(t *testing.T, q *Queue, topic string, values ...string) {
	t.Helper()
	must(t, q.Append(context.Background(), topic, 0, texts(values...)))
}

// stored gives the values in shard 0 of a topic.
func stored(t *testing.T, q *Queue, topic string) (values []string) {
	t.Helper()
	ctx := context.Background()
	from, end, err := q.Bounds(ctx, topic, 0)
	must(t, err)
	for from < end {
		msgs, err := q.Read(ctx, topic, 0, from, 1000)
		must(t, err)
		for _, m := range msgs {
			values = append(values, string(m.Value))
		}
		from += int64(len(msgs))
	}
	return values
}
