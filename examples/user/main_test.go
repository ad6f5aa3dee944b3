package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/cqrstest"
	"github.com/cqrs-server/cqrs/examples/internal/servers"
	"github.com/google/uuid"
)

func tell(t *testing.T, dir string, on servers.Flags) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(context.Background(), dir, on, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

func wantLines(t *testing.T, story string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !regexp.MustCompile(want).MatchString(story) {
			t.Errorf("the story does not say %q:\n%s", want, story)
		}
	}
}

func TestStory(t *testing.T) { checkStory(t, servers.Flags{}) }

func TestStoryOnServers(t *testing.T) { checkStory(t, servers.ForTest(t)) }

func checkStory(t *testing.T, on servers.Flags) {
	dir := t.TempDir()
	first := tell(t, dir, on)
	wantLines(t, first,
		`Name:Bob Age:31`, `The view count is 3\.`, `as of t 3, .* view count 0, disabled`, `   6 events\.`,
		`"user/nope" is not named in Config.Commands \(command .*, dev, command-coerce\)`, `dead letters: 1\.`,
		`the same answer \(t 6\)\. The view count is still 3, and t still 6`)
	if strings.Contains(first, "earlier run") {
		t.Error("a new folder has data of an earlier run")
	}
	if on.Kafka != "" {
		dir = t.TempDir() // another process, on another machine
	}
	second := tell(t, dir, on)
	wantLines(t, second, `earlier run: t is 6`, `user/register-failed`, `The view count is 6\.`, `   12 events\.`,
		`as of t 9, .* view count 3`)
}

func TestNamesAndAddressesAreTakenOnce(t *testing.T) {
	ann, bob := uuid.New(), uuid.New()
	s := cqrstest.Given(t, config(), Registered{ID: ann, Name: "Ann"}, Registered{ID: bob, Name: "Bob", Email: "bob@example.com"})
	s.When(Register{Name: "Bob"}).Then(RegisterFailed{Name: "Bob"})
	s.When(Register{Name: "Cy", Email: "bob@example.com"}).Then(RegisterFailed{Name: "Cy"})
	s.When(UpdateEmail{ID: ann, Email: "bob@example.com"}).Then(EmailUpdateFailed{ID: ann})
	s.When(UpdateEmail{ID: bob, Email: "bob@example.com"}).Then(EmailUpdated{ID: bob, Email: "bob@example.com"})
	s.When(UpdateEmail{Email: "nobody@example.com"}).Then(EmailUpdateFailed{})
}
