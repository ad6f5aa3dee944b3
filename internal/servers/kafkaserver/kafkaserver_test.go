package kafkaserver

import (
	"context"
	"testing"
)

func TestServer(t *testing.T) {
	s := Start(t)
	addr := s.Addr
	if err := Answers(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){s.Kill, s.Stop} {
		end()
		end() // it is gone already
		if Answers(t.Context(), addr) == nil {
			t.Fatal("it still answers")
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := Answers(t.Context(), addr); err != nil || s.Addr != addr {
			t.Fatal(s.Addr, err)
		}
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if Answers(t.Context(), addr) == nil {
		t.Error("it answers while it is stopped")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := Answers(t.Context(), addr); err != nil {
		t.Error(err)
	}
}

func TestRunTellsWhatIsWrong(t *testing.T) {
	s := Start(t)
	_, err := Run(context.Background(), Options{Libs: s.libs, Dir: t.TempDir(), Properties: map[string]string{"node.id": "none"}})
	if err == nil {
		t.Fatal("it runs with nonsense")
	}
	t.Log(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{Libs: s.libs, Dir: t.TempDir()}); err == nil {
		t.Error("it runs although ctx has ended")
	}
}
