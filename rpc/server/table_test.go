package server

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/rpc"
)

// constants returns the values of a file's string constants that the filter keeps.
func constants(t *testing.T, file string, keep func(spec *ast.ValueSpec) bool) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 && keep(spec) {
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				value, _ := strconv.Unquote(lit.Value)
				values = append(values, value)
			}
		}
		return true
	})
	return values
}

func TestEveryMethodOfTheClientIsInTheTable(t *testing.T) {
	want := constants(t, "../methods.go", func(s *ast.ValueSpec) bool { return strings.HasPrefix(s.Names[0].Name, "Method") })
	var got []string
	for _, m := range append(methods(nil), discover(nil, "")) {
		got = append(got, m.name)
		if m.summary == "" || m.handle == nil || (m.access != read && m.access != operate) {
			t.Errorf("%s: the row is not complete", m.name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-methods.go +table:\n%s", diff)
	}
}

func TestEveryReasonOfTheAgentHasACode(t *testing.T) {
	all := constants(t, "../../agent/fault/fault.go", func(s *ast.ValueSpec) bool {
		name, ok := s.Type.(*ast.Ident)
		return ok && name.Name == "Reason"
	})
	if len(all) < 20 || !slices.Contains(all, string(fault.NoSpace)) {
		t.Fatalf("found only the reasons %q", all)
	}
	for _, r := range all {
		if !slices.Contains(rpc.Reasons(), rpc.Reason(r)) {
			t.Errorf("reason %q of the agent has no code in package rpc", r)
		}
	}
}

func TestParametersAreReadStrictly(t *testing.T) {
	socket := serve(t, Options{}, nil)
	for _, tt := range []struct {
		method, params string
		reason         rpc.Reason
		says           string
	}{
		{"backup.start", `{"vm_name":"a","backup_type":"full","repository_id":"r","disk_id":0}`, rpc.ReasonDiskIDGiven, "inconsistent"},
		{"backup.start", `{"vm_name":"a","DISK_ID":null,"x":1}`, rpc.ReasonDiskIDGiven, "inconsistent"},
		{"backup.start", `{"vm_name":"a","disks":[1]}`, rpc.ReasonInvalidRequest, `unknown field "disks"`},
		{"backup.start", `{"VM_NAME":"a"}`, rpc.ReasonInvalidRequest, `unknown field "VM_NAME": want vm_name, `},
		{"backup.start", `{"vm_name":"a","vm_name":"b"}`, rpc.ReasonInvalidRequest, `"vm_name" comes twice`},
		{"backup.start", ``, rpc.ReasonInvalidRequest, "vm_name is missing"},
		{"backup.start", `{"vm_name":null}`, rpc.ReasonInvalidRequest, "vm_name is missing"},
		{"backup.start", `{"vm_name":7}`, rpc.ReasonInvalidRequest, "vm_name: want a string, not the number 7"},
		{"backup.start", `{"vm_name":"a","backup_type":"differential"}`, rpc.ReasonInvalidRequest, `backup_type: want full, incremental or auto, not "differential"`},
		{"backup.start", `{"vm_name":"a","backup_type":"full","tags":{"k":1}}`, rpc.ReasonInvalidRequest, `tags["k"]: want a string`},
		{"backup.start", `{"vm_name":"a","backup_type":"full","tags":["k"]}`, rpc.ReasonInvalidRequest, `tags: want an object, not an array`},
		{"backup.start", `["a","full"]`, rpc.ReasonInvalidRequest, "named parameters"},
		{"backup.start", `[{"vm_name":"a","disk_id":1}]`, rpc.ReasonDiskIDGiven, "inconsistent"},
		{"backup.start", `{"vm_name":"a","backup_type":"auto","queue":"yes"}`, rpc.ReasonInvalidRequest, "queue: want true or false, not a string"},
		{"backup.start", `{"vm_name":"a","backup_type":"auto","rate_limit":"100MiB"}`, rpc.ReasonInvalidRequest, "rate_limit: want an integer of 64 bits, not a string"},
		{"backup.watch", `{"vm":"a"}`, rpc.ReasonInvalidRequest, `unknown field "vm": want backup_id, vm_name, prunes or pauses`},
		{"backup.unwatch", ``, rpc.ReasonInvalidRequest, "watch_id is missing"},
		{"backup.complete", `{"backup_id":"b","change_id":"c"}`, rpc.ReasonInvalidRequest, "disk_id is missing"},
		{"backup.complete", `{"backup_id":"b","change_id":"c","disk_id":"0"}`, rpc.ReasonInvalidRequest, "disk_id: want an integer of 64 bits, not a string"},
		{"backup.complete", `{"backup_id":"b","change_id":"c","disk_id":1.5}`, rpc.ReasonInvalidRequest, "not the number 1.5"},
		{"backup.complete", `{"backup_id":"b","change_id":"c","disk_id":1e99}`, rpc.ReasonInvalidRequest, "not the number 1e99"},
		{"backup.list", `{"state":"done"}`, rpc.ReasonInvalidRequest, "state: want queued, preparing, "},
		{"backup.list", `{"since":"yesterday"}`, rpc.ReasonInvalidRequest, "since: want an RFC 3339 time"},
		{"vm.check", `{"vm_name":"a","disk":[]}`, rpc.ReasonInvalidRequest, `unknown field "disk"`},
		{"vm.put", `{"vm_name":"a","disks":[{"disk_id":0,"unit_number":0,"capacity_bytes":512},{"disk_id":1,"unit_number":1}]}`, rpc.ReasonInvalidRequest, "disks[1].capacity_bytes is missing"},
		{"vm.put", `{"vm_name":"a","disks":[{"disk_id":0,"unit_number":0,"capacity_bytes":512,"size":2}]}`, rpc.ReasonInvalidRequest, `unknown field "disks[0].size"`},
		{"restore.start", `{"disks":[0]}`, rpc.ReasonInvalidRequest, "backup_id is missing"},
		{"restore.start", `{"backup_id":"b","disks":["0"]}`, rpc.ReasonInvalidRequest, "disks[0]: want an integer of 64 bits, not a string"},
		{"restore.start", `{"backup_id":"b","lifetime_seconds":"2h"}`, rpc.ReasonInvalidRequest, "lifetime_seconds: want an integer of 64 bits, not a string"},
		{"restore.list", `{"state":"serving"}`, rpc.ReasonInvalidRequest, `unknown field "state": want active_only`},
		{"vm.put", `{"vm_name":"a","disks":[null]}`, rpc.ReasonInvalidRequest, "disks[0]: want an object, not null"},
		{"vm.put", `{"vm_name":"a","disks":{}}`, rpc.ReasonInvalidRequest, "disks: want an array, not an object"},
		{"agent.status", `{"verbose":true}`, rpc.ReasonInvalidRequest, `unknown field "verbose": want no fields`},
	} {
		request := `{"jsonrpc":"2.0","id":1,"method":"` + tt.method + `"`
		if tt.params != "" {
			request += `,"params":` + tt.params
		}
		out := converse(t, socket, request+"}")
		var r response
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Error == nil {
			t.Errorf("%s %s: %s", tt.method, tt.params, out)
			continue
		}
		if r.Error.Data.Reason != tt.reason || !strings.Contains(r.Error.Message, tt.says) || r.Error.Data.HTTPStatus != 400 {
			t.Errorf("%s %s\n got %+v\nwant %s: …%s…", tt.method, tt.params, r.Error, tt.reason, tt.says)
		}
	}
}

func TestAccess(t *testing.T) {
	me := uint32(1000)
	for _, tt := range []struct {
		name     string
		uid      uint32
		groups   []uint32
		socket   uint32
		hasGroup bool
		want     bool
	}{
		{"root", 0, nil, 7, true, true},
		{"root, no group known", 0, nil, 0, false, true},
		{"in the group", me, []uint32{5, 7}, 7, true, true},
		{"in another group", me, []uint32{5, 8}, 7, true, false},
		{"no group known", me, []uint32{0}, 0, false, false},
	} {
		if got := isOperator(tt.uid, tt.groups, tt.socket, tt.hasGroup); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	nobody, operator := caller{UID: me}, caller{UID: me, Operator: true}
	if !read.allows(nobody) || !read.allows(operator) || operate.allows(nobody) || !operate.allows(operator) || access("").allows(operator) {
		t.Error("the words of the access column do not mean what they say")
	}
}

func TestDiscoverDescribesTheTable(t *testing.T) {
	socket := serve(t, Options{Version: "1.2.3"}, nil)
	out := converse(t, socket, `{"jsonrpc":"2.0","method":"rpc.discover","id":1}`)
	var answer struct{ Result document }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	doc := answer.Result
	if doc.OpenRPC != openRPCVersion || doc.Info.Version != "1.2.3" || len(doc.Methods) != len(methods(nil))+1 {
		t.Errorf("%s, %d methods", doc.Info.Version, len(doc.Methods))
	}
	start := doc.Methods[0]
	var names []string
	for _, p := range start.Params {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"vm_name", "backup_type", "repository_id", "policy_id", "tags", "request_id", "queue", "rate_limit"}, names); diff != "" {
		t.Errorf("parameters of backup.start, -want +got:\n%s", diff)
	}
	if !start.Params[0].Required || start.Params[1].Required || start.Params[2].Required || !reflect.DeepEqual(start.Params[1].Schema, map[string]any{"type": "string", "enum": []any{"full", "incremental", "auto"}}) {
		t.Errorf("backup.start: %+v", start.Params)
	}
	checkRefs(t, doc.Methods, doc.Components)
	checkRefs(t, doc.Components["schemas"], doc.Components)
	checkWords(t, doc)
}

// checkWords checks that the document says what each thing means, and for which reasons each method fails.
func checkWords(t *testing.T, doc document) {
	t.Helper()
	for _, m := range doc.Methods {
		if m.Summary == "" || len(m.Errors) < 2 || len(m.Params) > 0 && m.Description == "" {
			t.Errorf("%s: %q, %q, %d errors", m.Name, m.Summary, m.Description, len(m.Errors))
		}
		if operates := slices.Contains(m.Errors, errorRef{"#/components/errors/not_allowed"}); operates != (m.Access == operate) {
			t.Errorf("%s is for %s, not_allowed is listed: %v", m.Name, m.Access, operates)
		}
	}
	for name, schema := range doc.Components["schemas"].(map[string]any) {
		if s := schema.(map[string]any); s["description"] == nil || s["title"] == nil {
			t.Errorf("schema %s has no description or title", name)
		}
	}
	for name, e := range doc.Components["errors"].(map[string]any) {
		if e := e.(map[string]any); e["message"] == "" || e["code"] == nil {
			t.Errorf("error %s: %v", name, e)
		}
	}
}

// TestFailures: every list of reasons belongs to a method, and every reason of the application to a list.
func TestFailures(t *testing.T) {
	listed := map[rpc.Reason]bool{}
	for _, m := range append(methods(nil), discover(methods(nil), "")) {
		for _, reason := range m.reasons() {
			listed[reason] = true
		}
	}
	for name := range failures {
		if !slices.ContainsFunc(methods(nil), func(m method) bool { return m.name == name }) {
			t.Errorf("%s is no method", name)
		}
	}
	// The protocol's own belong to no method.
	for _, reason := range []rpc.Reason{
		rpc.ReasonParseError, rpc.ReasonMalformedMessage, rpc.ReasonMethodNotFound, rpc.ReasonMessageTooLarge, rpc.ReasonMessageTimeout,
		rpc.ReasonTooManyConnections, rpc.ReasonUnauthorized,
	} {
		if listed[reason] {
			t.Errorf("%s is listed", reason)
		}
		listed[reason] = true
	}
	for _, reason := range rpc.Reasons() {
		if !listed[reason] {
			t.Errorf("no method lists %s", reason)
		}
	}
}

// TestDeprecatedMethods: an old name takes and answers what the new one does, has the same access, and is marked.
func TestDeprecatedMethods(t *testing.T) {
	byName := map[string]documentMethod{}
	for _, m := range describe(methods(nil), "").Methods {
		byName[m.Name] = m
	}
	renamed := map[string]string{rpc.MethodBackupConsolidate: rpc.MethodBackupSyntheticFull}
	for _, m := range byName {
		if _, old := renamed[m.Name]; old != m.Deprecated {
			t.Errorf("%s is deprecated: %v, want %v", m.Name, m.Deprecated, old)
		}
	}
	for old, name := range renamed {
		want := byName[name]
		want.Name, want.Deprecated, want.Summary = old, true, "the old name of "+name
		if diff := cmp.Diff(want, byName[old]); diff != "" {
			t.Errorf("%s, -want +got:\n%s", old, diff)
		}
	}
}

// checkRefs checks that every $ref within v names a component.
func checkRefs(t *testing.T, v any, components map[string]any) {
	t.Helper()
	text, _ := json.Marshal(v)
	for _, part := range strings.Split(string(text), `"$ref":"`)[1:] {
		ref, _, _ := strings.Cut(part, `"`)
		kind, name, ok := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
		if of, known := components[kind].(map[string]any); !ok || !known || of[name] == nil {
			t.Errorf("$ref %s leads nowhere", ref)
		}
	}
}
