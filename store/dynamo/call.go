package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/cenkalti/backoff/v5"
)

// call makes a request until it is answered: with success, or with an error that trying again does not heal.
func call[I, O any](ctx context.Context, s *Store, do func(context.Context, *I, ...func(*dynamodb.Options)) (*O, error), in *I) (out *O, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		out, err = do(ctx, in, once)
		return err
	})
	return out, err
}

// The pauses between attempts. The longest one is short enough to make use of what little a throttled table lets through.
const (
	firstPause   = 25 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// once switches off the client's retries, whose budget runs dry when many requests are throttled.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// partError says that a batch was done in part.
type partError struct{ done, left int }

func (e *partError) Error() string {
	return fmt.Sprintf("%d of %d parts of a batch were not processed", e.left, e.done+e.left)
}

// retry does op until it succeeds, the context ends, or its error is one that stays.
func (s *Store) retry(ctx context.Context, op func(context.Context) error) error {
	start, timeout, pauses := time.Now(), s.timeout, s.pauses()
	var t trouble
	defer s.troubles.Delete(&t)
	for {
		err := s.attempt(ctx, timeout, op)
		if err == nil {
			s.answered.Store(true)
			return nil
		}
		if err := s.final(ctx, start, err); err != nil {
			return err
		}
		t.note(start, err)
		s.troubles.Store(&t, nil)
		if errors.Is(err, context.DeadlineExceeded) {
			timeout = min(2*timeout, 8*s.timeout)
		}
		if part, ok := errors.AsType[*partError](err); ok && part.done > 0 {
			pauses.Reset()
		}
		if !wait(ctx, pauses.NextBackOff()) {
			return s.ended(ctx, err)
		}
	}
}

// pauses grow from one to the next.
func (s *Store) pauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: min(firstPause, s.longest), RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: s.longest,
	}
}

func (s *Store) attempt(ctx context.Context, timeout time.Duration, op func(context.Context) error) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return op(ctx)
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// final is the error to return, or nil when the request is to be made again.
func (s *Store) final(ctx context.Context, start time.Time, err error) error {
	if isAnswer(err) {
		s.answered.Store(true)
	}
	switch {
	case ctx.Err() != nil:
		return s.ended(ctx, err)
	case !passes(err):
		return s.explain(err)
	case !s.answered.Load() && time.Since(start) > s.patience:
		return fmt.Errorf("store: table %s: no answer from DynamoDB within %v: check the client's endpoint, region and credentials: %w",
			s.table, s.patience, err)
	}
	return nil
}

func (s *Store) ended(ctx context.Context, last error) error {
	if errors.Is(last, ctx.Err()) {
		return fmt.Errorf("store: table %s: %w", s.table, last)
	}
	return fmt.Errorf("store: table %s: %w; the last attempt: %w", s.table, ctx.Err(), last)
}

func (s *Store) explain(err error) error {
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return fmt.Errorf("store: table %s, or its index %s, is not there: make it with CreateTable or as the README says, "+
			"or check the client's region and endpoint: %w", s.table, byTypeIndex, err)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "ValidationException" {
		return fmt.Errorf("store: table %s refuses a request: see that its key and its index %s are as CreateTable makes them: %w",
			s.table, byTypeIndex, err)
	}
	return fmt.Errorf("store: table %s: %w", s.table, err)
}

const unknownCode = "UnknownError" // of an answer that the SDK could not read

// isAnswer tells whether the error came from a DynamoDB, and not from anything on the way.
func isAnswer(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	_, part := errors.AsType[*partError](err)
	return part || ok && api.ErrorCode() != unknownCode
}

var passing = map[string]bool{
	unknownCode:                              true,
	"ProvisionedThroughputExceededException": true,
	"ReplicatedWriteConflictException":       true,
	"RequestLimitExceeded":                   true,
	"RequestTimeout":                         true,
	"RequestTimeoutException":                true,
	"Throttling":                             true,
	"ThrottlingException":                    true,
	"TransactionConflictException":           true,
	"TransactionInProgressException":         true,
}

// passes tells whether the same request may succeed later.
func passes(err error) bool {
	if _, ok := errors.AsType[smithy.InvalidParamsError](err); ok {
		return false
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || passing[api.ErrorCode()] {
		return true
	}
	resp, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok && (resp.HTTPStatusCode() >= 500 || resp.HTTPStatusCode() == http.StatusTooManyRequests)
}
