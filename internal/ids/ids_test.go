package ids

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// golden are ids that the original program made.
type golden struct {
	Namespace uuid.UUID
	Vectors   []struct {
		Name string
		ID   uuid.UUID
	}
	Calls []struct {
		Command map[string]string `json:"cid"`
		Segment map[string]string
		Events  []string
		IDs     []uuid.UUID
	} `json:"events_calls"`
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	data, err := os.ReadFile("testdata/event-ids.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Vectors) == 0 || len(g.Calls) == 0 || g.Namespace != uuid.NameSpaceOID {
		t.Fatal("the golden file is not what this test expects")
	}
	return g
}

func TestNamesOfTheOriginal(t *testing.T) {
	for _, v := range readGolden(t).Vectors {
		if got := v5(append(uuid.NameSpaceOID[:], v.Name...)); got != v.ID {
			t.Errorf("%q gives %s, and the original gave %s", v.Name, got, v.ID)
		}
	}
}

func TestEventsOfTheOriginal(t *testing.T) {
	compared := 0
	for _, call := range readGolden(t).Calls {
		command, ok := commandOf(call.Command)
		if !ok {
			continue // the original took no id too; an envelope always has one
		}
		for i, want := range call.IDs {
			compared++
			if got := Event(command, i, printed(call.Segment)); got != want {
				t.Errorf("event %d of %v, segment %v: got %s, and the original gave %s", i, call.Command, call.Segment, got, want)
			}
		}
	}
	if compared < 8 {
		t.Errorf("only %d ids were compared", compared)
	}
}

func commandOf(cid map[string]string) (uuid.UUID, bool) {
	text := cid["uuid"] + cid["str"]
	id, err := uuid.Parse(text)
	return id, err == nil && id.String() == text
}

// printed is how the original printed a segment.
func printed(segment map[string]string) string {
	if keyword, ok := segment["kw"]; ok {
		return ":" + keyword
	}
	return segment["int"] + segment["str"]
}

func TestEventIsVersion5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		command := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "command"))
		index := rapid.IntRange(0, 1<<31-1).Draw(t, "index")
		segment := rapid.String().Draw(t, "segment")
		name := command.String() + ":" + strconv.Itoa(index) + "/" + segment
		if got, want := Event(command, index, segment), uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestFreshIsVersion5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		command := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "command"))
		n := rapid.IntRange(0, 1<<31-1).Draw(t, "n")
		want := uuid.NewSHA1(uuid.NameSpaceOID, []byte(command.String()+"#"+strconv.Itoa(n)))
		if got := Fresh(command, n); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestNoAllocation(t *testing.T) {
	command := uuid.New()
	for _, segment := range []string{"", "1", strings.Repeat("s", 20)} {
		if n := testing.AllocsPerRun(100, func() { sink = Event(command, 99, segment) }); n != 0 {
			t.Errorf("Event with segment %q allocates %v times", segment, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { sink = Fresh(command, 99) }); n != 0 {
		t.Errorf("Fresh allocates %v times", n)
	}
}

var sink uuid.UUID

func BenchmarkEvent(b *testing.B) {
	command := uuid.New()
	for b.Loop() {
		sink = Event(command, 0, "1")
	}
}
