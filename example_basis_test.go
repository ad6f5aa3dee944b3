package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs"
)

// A web server whose pages are values: who wrote something sees it on the next page, also when another process made that page; a page that
// a browser has already is not sent again.
func ExampleBasis() {
	dir, _ := os.MkdirTemp("", "basis")
	defer os.RemoveAll(dir)
	rt, err := cqrs.Open(dir, counterConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	go rt.Run(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("POST /counters/{name}", func(w http.ResponseWriter, r *http.Request) {
		receipt, err := rt.Send(r.Context(), add{Name: r.PathValue("name"), By: 1})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		out, err := receipt.Wait(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("X-Basis", out.Basis().String()) // the client sends it along with what it asks next
	})
	mux.HandleFunc("GET /counters/{name}", func(w http.ResponseWriter, r *http.Request) {
		view := rt.View()
		if text := r.Header.Get("X-Basis"); text != "" {
			basis, err := cqrs.ParseBasis(text)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			if view, err = rt.AtLeast(ctx, basis); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		etag := view.Basis().ETag()
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		c, err := counters.Get(view, r.PathValue("name"))
		if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s: %d", r.PathValue("name"), c.Value)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ask := func(method string, header ...string) *http.Response {
		r, _ := http.NewRequest(method, server.URL+"/counters/tea", nil)
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return &http.Response{Body: http.NoBody}
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Println(strings.TrimSpace(fmt.Sprintln(method, header, answer.StatusCode, string(body))))
		return answer
	}
	wrote := ask("POST").Header.Get("X-Basis")
	etag := ask("GET", "X-Basis: "+wrote).Header.Get("ETag")
	ask("GET", "If-None-Match: "+etag)
	ask("POST")
	ask("GET", "If-None-Match: "+etag)
	ask("GET", "X-Basis: tomorrow")
	// Output:
	// POST [] 200
	// GET [X-Basis: 0-1] 200 tea: 1
	// GET [If-None-Match: "0-1"] 304
	// POST [] 200
	// GET [If-None-Match: "0-1"] 200 tea: 2
	// GET [X-Basis: tomorrow] 400 cqrs: "tomorrow" is no basis: it must be a shard's number and a t, such as 0-123
}
