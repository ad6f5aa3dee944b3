package dynamofaults

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
)

// Partial does a part of each batch, and says so.
func Partial(c *Call) (*http.Response, error) {
	left := map[string]string{"BatchWriteItem": "UnprocessedItems", "BatchGetItem": "UnprocessedKeys"}[c.Op]
	if left == "" {
		return c.Pass()
	}
	done, undone, err := split(c.Body)
	if err != nil {
		return nil, err
	}
	if len(done) == 0 { // nothing of it
		return c.Reply(http.StatusOK, `{"`+left+`":`+string(undone)+`}`), nil
	}
	resp, err := c.pass(done)
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
	return c.Reply(resp.StatusCode, string(all)), err
}

// split cuts a batch request in two: a request, and what it leaves out.
func split(body []byte) (done, undone []byte, err error) {
	var in map[string]map[string]json.RawMessage
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, nil, err
	}
	items, rest, n := in["RequestItems"], map[string]json.RawMessage{}, 0
	for table, raw := range items {
		cut := splitKeys
		if raw[0] == '[' {
			cut = splitList
		}
		var left json.RawMessage
		if n, items[table], left, err = cut(raw); err != nil {
			return nil, nil, err
		}
		if left != nil {
			rest[table] = left
		}
	}
	if undone, err = json.Marshal(rest); err != nil || n == 0 {
		return nil, undone, err
	}
	done, err = json.Marshal(in)
	return done, undone, err
}

// splitList cuts the items of a table that are to be written, at a random place. It gives how many are left in, and nothing for the rest when
// all are.
func splitList(raw json.RawMessage) (n int, done, left json.RawMessage, err error) {
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return 0, nil, nil, err
	}
	n = rand.IntN(len(all) + 1)
	if done, err = json.Marshal(all[:n]); err == nil && n < len(all) {
		left, err = json.Marshal(all[n:])
	}
	return n, done, left, err
}

// splitKeys does the same with the keys of items that are to be read.
func splitKeys(raw json.RawMessage) (n int, done, left json.RawMessage, err error) {
	var keys struct {
		Keys           []json.RawMessage
		ConsistentRead bool
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return 0, nil, nil, err
	}
	rest := keys
	n = rand.IntN(len(keys.Keys) + 1)
	keys.Keys, rest.Keys = keys.Keys[:n], keys.Keys[n:]
	if done, err = json.Marshal(keys); err == nil && len(rest.Keys) > 0 {
		left, err = json.Marshal(rest)
	}
	return n, done, left, err
}
