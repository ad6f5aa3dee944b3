package dynamofaults

import (
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Reply is an answer that did not come from the server.
func (c *Call) Reply(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: c.Request,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Crc32": {crc(body)}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func crc(body string) string { return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(body))), 10) }

// Error is an answer with one of DynamoDB's error codes.
func (c *Call) Error(status int, code string) *http.Response {
	return c.Reply(status, `{"__type":"com.amazonaws.dynamodb.v20120810#`+code+`","message":"injected"}`)
}

// Sometimes uses a fault for a part of the requests.
func Sometimes(part float64, f Fault) Fault {
	return func(c *Call) (*http.Response, error) {
		if rand.Float64() < part {
			return f(c)
		}
		return c.Pass()
	}
}

// Either uses one fault after the other.
func Either(all ...Fault) Fault {
	var n atomic.Int64
	return func(c *Call) (*http.Response, error) { return all[n.Add(1)%int64(len(all))](c) }
}

// Throttled does nothing, because the table has no capacity left.
func Throttled(c *Call) (*http.Response, error) {
	codes := []string{"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}
	return c.Error(http.StatusBadRequest, codes[rand.IntN(len(codes))]), nil
}

// Broken does nothing, because of an error on the server's side.
func Broken(c *Call) (*http.Response, error) {
	if rand.IntN(2) == 0 {
		return c.Error(http.StatusInternalServerError, "InternalServerError"), nil
	}
	return c.Reply(http.StatusServiceUnavailable, ""), nil
}

// Refused is a server that nobody reaches.
func Refused(*Call) (*http.Response, error) { return nil, errors.New("injected: connection refused") }

// Garbage answers what is no answer, sometimes after the request has had its effect.
func Garbage(c *Call) (*http.Response, error) {
	switch rand.IntN(4) {
	case 0:
		return c.Reply(http.StatusOK, "<html>welcome</html>"), nil
	case 1:
		return c.Reply(http.StatusBadGateway, "<html>bad gateway</html>"), nil
	case 2:
		return c.Reply(http.StatusOK, `{"Item":{"id":{"S":`), nil
	}
	resp, err := c.pass(c.Body)
	if err == nil {
		resp.Header.Set("X-Amz-Crc32", "1") // applied, and the answer is damaged on its way
	}
	return resp, err
}

// ErrCut is what AnswerLost gives.
var ErrCut = errors.New("injected: connection reset")

// AnswerLost has its effect on the server, and then the connection is lost.
func AnswerLost(c *Call) (*http.Response, error) {
	resp, err := c.pass(c.Body)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return nil, ErrCut
}

// Hangs has its effect on the server, and never answers.
func Hangs(c *Call) (*http.Response, error) {
	_, _ = AnswerLost(c)
	<-c.Request.Context().Done()
	return nil, c.Request.Context().Err()
}

// AwayFor has a fault for a time that starts with the first request after it was armed.
type AwayFor struct {
	For time.Duration
	How Fault

	since atomic.Pointer[time.Time]
	armed atomic.Bool
}

// Arm has the fault begin with the next request.
func (f *AwayFor) Arm() { f.armed.Store(true) }

// Fault is the fault.
func (f *AwayFor) Fault(c *Call) (*http.Response, error) {
	if !f.armed.Load() {
		return c.Pass()
	}
	now := time.Now()
	f.since.CompareAndSwap(nil, &now)
	if now.Sub(*f.since.Load()) < f.For {
		return f.How(c)
	}
	return c.Pass()
}
