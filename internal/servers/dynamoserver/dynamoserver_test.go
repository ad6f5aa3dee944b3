package dynamoserver

import "testing"

func TestServer(t *testing.T) {
	s := Start(t)
	for _, end := range []func(){s.Kill, s.Stop} {
		end()
		if Answers(t.Context(), s.URL) == nil {
			t.Fatal("it still answers")
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := Answers(t.Context(), s.URL); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if Answers(t.Context(), s.URL) == nil {
		t.Error("it answers while it is stopped")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := Answers(t.Context(), s.URL); err != nil {
		t.Error(err)
	}
}
