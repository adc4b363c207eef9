package server

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// maxBatch is the limit of requests in one batch: an answer can be much larger than its request.
const maxBatch = 100

// A request is one call or notification.
type request struct {
	id     json.RawMessage // as it was sent; nil for a notification, which has no answer
	method string
	params json.RawMessage // an object or an array; nil if absent
}

// A response is the answer to one call. Exactly one of result and error is set.
type response struct {
	Version string          `json:"jsonrpc"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *rpc.Error      `json:"error,omitempty"`
	ID      json.RawMessage `json:"id"`
}

// A notification is what a watch pushes.
type notification struct {
	Version string `json:"jsonrpc"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
}

// An exchange is one request and its answer, for methods that do more than answer.
type exchange struct {
	conn   *conn
	oneWay bool   // a notification: it gets no answer
	then   func() // runs after the answer was sent, in its own goroutine; may be nil
}

var nullID = json.RawMessage("null")

func failure(id json.RawMessage, err *rpc.Error) response {
	return response{Version: "2.0", Error: err, ID: id}
}

func malformed(format string, args ...any) *rpc.Error {
	return rpc.NewError(rpc.ReasonMalformedMessage, "invalid request: "+fmt.Sprintf(format, args...))
}

// parseRequest reads one request. With an error it returns the id for the answer, null if there is none: a malformed request
// is answered even without an id.
func parseRequest(data json.RawMessage) (request, json.RawMessage, *rpc.Error) {
	if data[0] != '{' {
		return request{}, nullID, malformed("want a JSON object with jsonrpc, method, params and id")
	}
	members, err := schema.Members(data)
	if err != nil {
		return request{}, nullID, malformed("%v", err)
	}
	id, ok := members["id"]
	if ok && !validID(id) {
		return request{}, nullID, malformed("id: want a string, a number or null")
	}
	r := request{id: id, params: members["params"]}
	if id == nil {
		id = nullID
	}
	var version string
	if json.Unmarshal(members["jsonrpc"], &version) != nil || version != "2.0" {
		return r, id, malformed(`jsonrpc: want "2.0"`)
	}
	if m := members["method"]; len(m) == 0 || m[0] != '"' || json.Unmarshal(m, &r.method) != nil {
		return r, id, malformed("method: want a string")
	}
	// By the specification params are absent or structured. Null counts as absent, because many clients send it.
	switch {
	case bytes.Equal(r.params, nullID):
		r.params = nil
	case r.params != nil && r.params[0] != '{' && r.params[0] != '[':
		return r, id, malformed("params: want an object")
	}
	return r, id, nil
}

func validID(id json.RawMessage) bool {
	return id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9' || bytes.Equal(id, nullID)
}

// named returns the parameters as an object. Parameters are by name. A list is accepted if it contains only that object,
// because some clients always send a list.
func named(params json.RawMessage) (json.RawMessage, *rpc.Error) {
	if len(params) == 0 || params[0] == '{' {
		return params, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(params, &list); err == nil {
		switch {
		case len(list) == 0:
			return nil, nil
		case len(list) == 1 && list[0][0] == '{':
			return list[0], nil
		}
	}
	return nil, rpc.NewError(rpc.ReasonInvalidRequest, "params: want an object with named parameters, not a list").
		WithHint("rpc.discover lists the names")
}

// encode writes a value as one line. Text is not escaped for HTML, so that a person can read it.
func encode(v any) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return line.Bytes(), err
}
