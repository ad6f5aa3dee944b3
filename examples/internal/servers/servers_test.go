package servers

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// What is not there is named, and so is the flag that makes it. Once it is there, it need not be made.
func TestCreate(t *testing.T) {
	f := ForTest(t)
	f.Shards, f.Create = 3, false
	_, err := f.Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), f.Prefix+"commands") || !strings.Contains(err.Error(), f.Prefix+"events") ||
		!strings.Contains(err.Error(), "-create") {
		t.Fatalf("nothing is there: %v", err)
	}
	for _, f.Create = range []bool{true, true, false} {
		s, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Queue.Shards(t.Context(), cqrs.Topics()[0])
		if err != nil || n != 3 {
			t.Errorf("%d shards, %v", n, err)
		}
		if _, err := s.Store.Last(t.Context(), 2); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWithoutFlagsThereIsNothing(t *testing.T) {
	s, err := (&Flags{}).Open(t.Context())
	if err != nil || s.Queue != nil || s.Store != nil {
		t.Fatalf("%+v %v", s, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A process that is started with Args has the same flags.
func TestArgs(t *testing.T) {
	want := Flags{Kafka: "a:1,b:2", DynamoDB: "http://c:3", Prefix: "p-", Create: true, Shards: 5}
	var got Flags
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	got.Add(flags, "example-")
	got.AddShards(flags)
	if err := flags.Parse(slices.Clone(want.Args())); err != nil || got != want {
		t.Errorf("%+v, wanted %+v (%v)", got, want, err)
	}
}
