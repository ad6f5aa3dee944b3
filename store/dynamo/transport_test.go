package dynamo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/store/dynamo"
)

// fault stands between the client and the server. It answers a request itself, or passes it on.
type fault func(r *http.Request, op string, body []byte, pass func() (*http.Response, error)) (*http.Response, error)

// network is a transport with a fault, which counts what it does.
type network struct {
	fault    fault
	requests sync.Map // of each operation: *atomic.Int64
	now      atomic.Int64
	most     atomic.Int64 // requests under way at once
	faults   atomic.Int64 // answers that are not the server's
	base     *http.Transport
}

func newNetwork(t testing.TB, f fault) *network {
	n := &network{fault: f, base: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(n.base.CloseIdleConnections)
	return n
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	now := n.now.Add(1)
	defer n.now.Add(-1)
	for most := n.most.Load(); now > most && !n.most.CompareAndSwap(most, now); most = n.most.Load() {
	}
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	count, _ := n.requests.LoadOrStore(op, new(atomic.Int64))
	count.(*atomic.Int64).Add(1)
	var passed *http.Response
	pass := func() (_ *http.Response, err error) {
		again := r.Clone(r.Context())
		again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		passed, err = n.base.RoundTrip(again)
		return passed, err
	}
	if n.fault == nil {
		return pass()
	}
	resp, err := n.fault(r, op, body, pass)
	if resp == nil || resp != passed {
		n.faults.Add(1)
	}
	return resp, err
}

func (n *network) count(op string) int64 {
	if c, ok := n.requests.Load(op); ok {
		return c.(*atomic.Int64).Load()
	}
	return 0
}

// total is how many requests were made.
func (n *network) total() (sum int64) {
	n.requests.Range(func(_, count any) bool {
		sum += count.(*atomic.Int64).Load()
		return true
	})
	return sum
}

func reply(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Crc32": {crc([]byte(body))}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func crc(b []byte) string { return strconv.FormatUint(uint64(crc32.ChecksumIEEE(b)), 10) }

func awsError(r *http.Request, status int, code string) *http.Response {
	return reply(r, status, `{"__type":"com.amazonaws.dynamodb.v20120810#`+code+`","message":"injected"}`)
}

// sometimes uses a fault for a part of the requests.
func sometimes(part float64, f fault) fault {
	return func(r *http.Request, op string, body []byte, pass func() (*http.Response, error)) (*http.Response, error) {
		if rand.Float64() < part {
			return f(r, op, body, pass)
		}
		return pass()
	}
}

func throttled(r *http.Request, op string, _ []byte, _ func() (*http.Response, error)) (*http.Response, error) {
	codes := []string{"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}
	return awsError(r, http.StatusBadRequest, codes[rand.IntN(len(codes))]), nil
}

func broken(r *http.Request, op string, _ []byte, _ func() (*http.Response, error)) (*http.Response, error) {
	if rand.IntN(2) == 0 {
		return awsError(r, http.StatusInternalServerError, "InternalServerError"), nil
	}
	return reply(r, http.StatusServiceUnavailable, ""), nil
}

func garbage(r *http.Request, op string, _ []byte, pass func() (*http.Response, error)) (*http.Response, error) {
	switch rand.IntN(4) {
	case 0:
		return reply(r, http.StatusOK, "<html>welcome</html>"), nil
	case 1:
		return reply(r, http.StatusBadGateway, "<html>bad gateway</html>"), nil
	case 2:
		return reply(r, http.StatusOK, `{"Item":{"id":{"S":`), nil
	}
	resp, err := pass()
	if err == nil {
		resp.Header.Set("X-Amz-Crc32", "1") // applied, and the answer is damaged on its way
	}
	return resp, err
}

var errCut = errors.New("injected: connection reset")

// answerLost has its effect on the server.
func answerLost(r *http.Request, op string, _ []byte, pass func() (*http.Response, error)) (*http.Response, error) {
	resp, err := pass()
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return nil, errCut
}

// hangs has its effect on the server, and never answers.
func hangs(r *http.Request, op string, body []byte, pass func() (*http.Response, error)) (*http.Response, error) {
	answerLost(r, op, body, pass)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// partial does a part of each batch and says so.
func partial(r *http.Request, op string, body []byte, pass func() (*http.Response, error)) (*http.Response, error) {
	left := map[string]string{"BatchWriteItem": "UnprocessedItems", "BatchGetItem": "UnprocessedKeys"}[op]
	if left == "" {
		return pass()
	}
	var in map[string]map[string]json.RawMessage
	done, undone, err := split(body, &in)
	if err != nil {
		return nil, err
	}
	if len(done) == 0 { // nothing of it
		return reply(r, http.StatusOK, `{"`+left+`":`+string(undone)+`}`), nil
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(done)), int64(len(done))
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out map[string]json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, err
	}
	out[left] = undone
	all, err := json.Marshal(out)
	return reply(r, resp.StatusCode, string(all)), err
}

// split cuts a batch request in two: a request, and what it leaves out.
func split(body []byte, in *map[string]map[string]json.RawMessage) (done, undone []byte, err error) {
	if err := json.Unmarshal(body, in); err != nil {
		return nil, nil, err
	}
	items := (*in)["RequestItems"]
	rest := map[string]any{}
	n := 0
	for table, raw := range items {
		if raw[0] == '[' {
			var all []json.RawMessage
			if err := json.Unmarshal(raw, &all); err != nil {
				return nil, nil, err
			}
			n = rand.IntN(len(all) + 1)
			items[table], _ = json.Marshal(all[:n])
			if n < len(all) {
				rest[table] = all[n:]
			}
			continue
		}
		var keys struct {
			Keys           []json.RawMessage
			ConsistentRead bool
		}
		if err := json.Unmarshal(raw, &keys); err != nil {
			return nil, nil, err
		}
		left := keys
		n = rand.IntN(len(keys.Keys) + 1)
		keys.Keys, left.Keys = keys.Keys[:n], keys.Keys[n:]
		items[table], _ = json.Marshal(keys)
		if len(left.Keys) > 0 {
			rest[table] = left
		}
	}
	if undone, err = json.Marshal(rest); err != nil || n == 0 {
		return nil, undone, err
	}
	done, err = json.Marshal(in)
	return done, undone, err
}

func refused(*http.Request, string, []byte, func() (*http.Response, error)) (*http.Response, error) {
	return nil, errors.New("injected: connection refused")
}

// awayFor has a fault for a time that starts with the first request after it was armed.
type awayFor struct {
	d     time.Duration
	how   fault
	since atomic.Pointer[time.Time]
	armed atomic.Bool
}

func (f *awayFor) fault(r *http.Request, op string, body []byte, pass func() (*http.Response, error)) (*http.Response, error) {
	if !f.armed.Load() {
		return pass()
	}
	now := time.Now()
	f.since.CompareAndSwap(nil, &now)
	if now.Sub(*f.since.Load()) < f.d {
		return f.how(r, op, body, pass)
	}
	return pass()
}

// newStore is a store on a new table behind a network with a fault.
func newStore(t testing.TB, f fault, options ...dynamo.Option) (*dynamo.Store, *network) {
	t.Helper()
	url := address(t)
	n := newNetwork(t, f)
	return dynamo.New(newClient(url, n), newTable(t, url), options...), n
}
