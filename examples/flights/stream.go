package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// stream reads commands, one JSON object a line.
type stream struct {
	lines *bufio.Reader
	close []func() error
	line  int
}

func openStream(name string, in io.Reader) (*stream, error) {
	s := &stream{}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		in, s.close = f, append(s.close, f.Close)
	}
	buffered := bufio.NewReaderSize(in, 1<<20)
	if head, _ := buffered.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.Close())
		}
		s.close = append(s.close, z.Close)
		buffered = bufio.NewReaderSize(z, 1<<20)
	}
	s.lines = buffered
	return s, nil
}

func (s *stream) Close() (err error) {
	for i := len(s.close) - 1; i >= 0; i-- {
		err = errors.Join(err, s.close[i]())
	}
	return err
}

// skip passes over lines that were sent before.
func (s *stream) skip(n int) error {
	for s.line < n {
		_, err := s.lines.ReadSlice('\n')
		switch {
		case err == nil:
			s.line++
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return fmt.Errorf("an earlier run sent %d lines, and this file has only %d: is it another one? (use another -data folder)", n, s.line)
		default:
			return err
		}
	}
	return nil
}

// wireCommand is a line.
type wireCommand struct {
	ID   uuid.UUID       `json:"id"`
	Type string          `json:"type"`
	Key  string          `json:"key"`
	Time int64           `json:"time"` // Unix milliseconds
	Data json.RawMessage `json:"data"`
}

// next reads up to max commands; io.EOF comes alone.
func (s *stream) next(max int) ([]cqrs.Envelope, error) {
	batch := make([]cqrs.Envelope, 0, max)
	for len(batch) < max {
		line, err := s.lines.ReadBytes('\n')
		if len(line) > 0 {
			s.line++
			var c wireCommand
			if err := json.Unmarshal(line, &c); err != nil {
				return nil, fmt.Errorf("line %d: %w", s.line, err)
			}
			batch = append(batch, cqrs.Envelope{ID: c.ID, Type: c.Type, Key: c.Key, Time: time.UnixMilli(c.Time), Data: c.Data})
		}
		if errors.Is(err, io.EOF) && len(batch) > 0 {
			return batch, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// send sends the stream in order: while one batch is brought to its end the next is read.
func send(ctx context.Context, rt *cqrs.Runtime, s *stream, place *place, p *progress, size int) error {
	batches, readError := make(chan []cqrs.Envelope, 2), make(chan error, 1)
	reading, stop := context.WithCancel(ctx)
	defer func() { stop(); <-readError }()
	go func() {
		defer close(batches)
		readError <- read(reading, s, size, batches)
		close(readError)
	}()
	for batch := range batches {
		refused, err := sendBatch(ctx, rt, batch)
		if err != nil {
			return err
		}
		if err := place.advance(len(batch)); err != nil {
			return err
		}
		p.add(len(batch), refused)
	}
	return <-readError
}

func read(ctx context.Context, s *stream, size int, batches chan<- []cqrs.Envelope) error {
	for {
		batch, err := s.next(size)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendBatch sends commands and waits for all of them. Commands that a rule refuses are counted.
func sendBatch(ctx context.Context, rt *cqrs.Runtime, batch []cqrs.Envelope) (refused int, err error) {
	receipts, err := rt.Submit(ctx, batch...)
	if err != nil {
		return 0, err
	}
	for _, r := range receipts {
		_, err := r.Wait(ctx)
		if _, ok := errors.AsType[*cqrs.Error](err); ok {
			refused++
		} else if err != nil {
			return refused, err
		}
	}
	return refused, nil
}
