package server

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The examples of https://www.jsonrpc.org/specification#examples, in their order. Messages of errors are ours, so only the
// code of an error is compared. An empty want means no answer.
var specExamples = []struct{ name, send, want string }{
	{
		"positional parameters",
		`{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}`,
		`{"jsonrpc": "2.0", "result": 19, "id": 1}`,
	}, {
		"positional parameters the other way round",
		`{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}`,
		`{"jsonrpc": "2.0", "result": -19, "id": 2}`,
	}, {
		"named parameters",
		`{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}`,
		`{"jsonrpc": "2.0", "result": 19, "id": 3}`,
	}, {
		"named parameters the other way round",
		`{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}`,
		`{"jsonrpc": "2.0", "result": 19, "id": 4}`,
	}, {
		"notification",
		`{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}`,
		``,
	}, {
		"notification of a method that does not exist",
		`{"jsonrpc": "2.0", "method": "foobar"}`,
		``,
	}, {
		"non-existent method",
		`{"jsonrpc": "2.0", "method": "foobar", "id": "1"}`,
		`{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}`,
	}, {
		"invalid JSON",
		`{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]`,
		`{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}`,
	}, {
		"invalid request object",
		`{"jsonrpc": "2.0", "method": 1, "params": "bar"}`,
		`{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}`,
	}, {
		"batch, invalid JSON",
		`[
			{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
			{"jsonrpc": "2.0", "method"
		]`,
		`{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}`,
	}, {
		"empty array",
		`[]`,
		`{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}`,
	}, {
		"invalid batch, not empty",
		`[1]`,
		`[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]`,
	}, {
		"invalid batch",
		`[1,2,3]`,
		`[
			{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
			{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
			{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
		]`,
	}, {
		"batch",
		`[
			{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
			{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
			{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
			{"foo": "boo"},
			{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
			{"jsonrpc": "2.0", "method": "get_data", "id": "9"}
		]`,
		`[
			{"jsonrpc": "2.0", "result": 7, "id": "1"},
			{"jsonrpc": "2.0", "result": 19, "id": "2"},
			{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
			{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
			{"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
		]`,
	}, {
		"batch of notifications",
		`[
			{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
			{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
		]`,
		``,
	},
}

// beyondExamples are rules of the specification without an example there.
var beyondExamples = []struct{ name, send, want string }{
	{"id null is answered", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":null}`, `{"jsonrpc":"2.0","result":1,"id":null}`},
	{"id empty string", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":""}`, `{"jsonrpc":"2.0","result":1,"id":""}`},
	{"id zero", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":0}`, `{"jsonrpc":"2.0","result":1,"id":0}`},
	{"id fraction", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":-1.50}`, `{"jsonrpc":"2.0","result":1,"id":-1.50}`},
	{"id beyond 64 bits", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":123456789012345678901234567890}`, `{"jsonrpc":"2.0","result":1,"id":123456789012345678901234567890}`},
	{"id odd text", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":"\u0000é<&>"}`, `{"jsonrpc":"2.0","result":1,"id":"\u0000é<&>"}`},
	{"id object", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":{}}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"id boolean", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":true}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"id twice", `{"jsonrpc":"2.0","method":"sum","params":[1],"id":1,"id":2}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"params absent", `{"jsonrpc":"2.0","method":"echo","id":1}`, `{"jsonrpc":"2.0","result":null,"id":1}`},
	{"params null", `{"jsonrpc":"2.0","method":"echo","params":null,"id":1}`, `{"jsonrpc":"2.0","result":null,"id":1}`},
	{"params text", `{"jsonrpc":"2.0","method":"echo","params":"x","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"result null is there", `{"jsonrpc":"2.0","method":"update","id":1}`, `{"jsonrpc":"2.0","result":null,"id":1}`},
	{"version absent", `{"method":"sum","params":[1],"id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"version number", `{"jsonrpc":2.0,"method":"sum","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"version 1.0", `{"jsonrpc":"1.0","method":"sum","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"names are exact", `{"jsonrpc":"2.0","Method":"sum","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"method absent", `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"method null", `{"jsonrpc":"2.0","method":null,"id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"an answer is no request", `{"jsonrpc":"2.0","result":19,"id":1}`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":1}`},
	{"rpc. methods that do not exist", `{"jsonrpc":"2.0","method":"rpc.serverInfo","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32601},"id":1}`},
	{"text is no request", `"hello"`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"a number is no request", `1`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"null is no request", `null`, `{"jsonrpc":"2.0","error":{"code":-32600},"id":null}`},
	{"batch in a batch", `[[{"jsonrpc":"2.0","method":"sum","id":1}]]`, `[{"jsonrpc":"2.0","error":{"code":-32600},"id":null}]`},
	{"batch with null", `[null]`, `[{"jsonrpc":"2.0","error":{"code":-32600},"id":null}]`},
	{"error in a notification", `{"jsonrpc":"2.0","method":"fail"}`, ``},
	{"nothing", ``, ``},
	{"white space", " \t\r\n\n", ``},
	{"half a message", `{"jsonrpc":"2.0"`, `{"jsonrpc":"2.0","error":{"code":-32700},"id":null}`},
	{"no JSON", "GET / HTTP/1.1\r\n\r\n", `{"jsonrpc":"2.0","error":{"code":-32700},"id":null}`},
	{"stray bracket", `]`, `{"jsonrpc":"2.0","error":{"code":-32700},"id":null}`},
	{"not UTF-8", "{\"jsonrpc\":\"2.0\",\"method\":\"\xff\",\"id\":1}", `{"jsonrpc":"2.0","error":{"code":-32700},"id":null}`},
	{"byte order mark", "\ufeff{}", `{"jsonrpc":"2.0","error":{"code":-32700},"id":null}`},
}

func TestSpecification(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	for _, tt := range append(specExamples, beyondExamples...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, socket, tt.send)
			if diff := cmp.Diff(canonical(t, tt.want), canonical(t, got)); diff != "" {
				t.Errorf("answer to %s\n-want +got:\n%s", tt.send, diff)
			}
		})
	}
}

// canonical decodes an answer and keeps only the code of an error.
func canonical(t *testing.T, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	for _, item := range list {
		answer := item.(map[string]any)
		if e, ok := answer["error"].(map[string]any); ok {
			answer["error"] = e["code"]
		}
	}
	return v
}
