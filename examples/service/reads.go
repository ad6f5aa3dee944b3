package main

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cqrs-server/cqrs"
)

// Reads are answered from this instance's own files. A request may say which value it wants:
//
//	Basis: 0-17     at least this one: what its sender has written, or seen, on any instance
//	?at=0-17        this one, for ever the same
//
// The answer's ETag names the value that it was read from, and a request that has it in If-None-Match gets 304.

// account answers with a row.
func (s *service) account(w http.ResponseWriter, r *http.Request) {
	number := r.PathValue("number")
	s.read(w, r, s.rt.ShardOf(number), func(v cqrs.View) (any, error) { return Accounts.Get(v, number) })
}

// accounts answers with a page of a shard's rows.
func (s *service) accounts(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n < 1 || n > 1000 {
		n = 100
	}
	s.readShard(w, r, func(v cqrs.View) (any, error) {
		rows, next, err := Accounts.Whole().Page(v, n, cqrs.Cursor(r.FormValue("after")))
		return map[string]any{"accounts": rows, "next": next}, err
	})
}

// shard answers with sums that tell whether two instances have the same.
func (s *service) shard(w http.ResponseWriter, r *http.Request) {
	s.readShard(w, r, func(v cqrs.View) (any, error) {
		sums := shardSums{Shard: v.Basis().Shard, T: v.T()}
		for a, err := range Accounts.All(v) {
			if err != nil {
				return nil, err
			}
			sums.Accounts++
			sums.Cents += a.Cents
			sums.Movements += a.Movements
		}
		if digest, t := s.rt.Shard(sums.Shard).Digest(); t == v.T() { // it is kept of the newest value only
			sums.Digest = hex.EncodeToString(digest[:])
		}
		return sums, nil
	})
}

type shardSums struct {
	Shard     int    `json:"shard"`
	T         uint64 `json:"t"`
	Digest    string `json:"digest,omitempty"` // of all accepted commits
	Accounts  int    `json:"accounts"`
	Cents     int64  `json:"cents"`
	Movements int    `json:"movements"`
}

func (s *service) readShard(w http.ResponseWriter, r *http.Request, rows func(cqrs.View) (any, error)) {
	n, err := strconv.Atoi(r.PathValue("shard"))
	if err != nil || n < 0 || n >= s.rt.Shards() {
		fail(w, fault{Status: http.StatusNotFound, Message: fmt.Sprintf("there are shards 0 to %d", s.rt.Shards()-1)})
		return
	}
	s.read(w, r, n, rows)
}

// read finds the value that is wanted, and answers with what rows gives of it, unless who asks has that.
func (s *service) read(w http.ResponseWriter, r *http.Request, shard int, rows func(cqrs.View) (any, error)) {
	v, f := s.view(r, shard)
	if f.Status != 0 {
		fail(w, f)
		return
	}
	w.Header().Set("ETag", v.Basis().ETag())
	w.Header().Set("Basis", v.Basis().String())
	w.Header().Set("Vary", "Basis")
	w.Header().Set("Cache-Control", "no-cache") // ask whether it is still the newest
	if r.FormValue("at") != "" {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	}
	if has(r.Header.Get("If-None-Match"), v.Basis().ETag()) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := rows(v)
	if err != nil {
		w.Header().Del("Cache-Control")
		fail(w, readFault(err))
		return
	}
	reply(w, http.StatusOK, body)
}

// view is the value that a request wants: the newest, unless it says more.
func (s *service) view(r *http.Request, shard int) (v cqrs.View, f fault) {
	text, find := r.FormValue("at"), s.rt.At
	if text == "" {
		text, find = r.Header.Get("Basis"), s.rt.AtLeast
	}
	if text == "" {
		return s.rt.Shard(shard).View(), f
	}
	basis, err := cqrs.ParseBasis(text)
	if err != nil || basis.Shard != shard {
		return v, fault{Status: http.StatusBadRequest, Message: fmt.Sprintf("the basis %.50q is none of shard %d", text, shard)}
	}
	ctx, cancel := s.within(r)
	defer cancel()
	if v, err = find(ctx, basis); err != nil {
		return v, readFault(err)
	}
	return v, f
}

// has tells whether a list of ETags has this one.
func has(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == etag || one == "*" {
			return true
		}
	}
	return false
}
