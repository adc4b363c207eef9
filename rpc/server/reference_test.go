package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/rpc"
)

var update = flag.Bool("update", false, "write the reference")

const (
	reference = "../../docs/rpc.md"
	wordsFile = "words.json"
)

// TestReference: docs/rpc.md and words.json say what the method table and the wire types say. "make docs" writes them.
func TestReference(t *testing.T) {
	for name, want := range map[string]string{reference: writeReference(t), wordsFile: writeWords(t)} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is out of date, run make docs:\n%s", name, diff)
		}
	}
}

// errorsPage is made of the table of the reasons, like the table of docs/rpc.md.
const errorsPage = "../../docs/errors.md"

const errorsIntro = `# Errors

<!-- Made from the reasons in the source by "make docs". -->

Each error has a reason: ` + "`data.reason`" + ` of an [RPC error](rpc.md#errors), and the failure of a backup or restore on record. The
message names the object, and the hint says what to do in this case. A reason leads to [more about it](troubleshooting.md#reasons).

*Where* says what is wrong: the request, the record of the VM, the state of a backup or restore, a limit, the configuration of the
agent, the hub with its disks and programs, the SNA with the vCenter and the backup client, the restore point, or the agent itself.

| reason | where | cause | what to do |
|---|---|---|---|
`

// TestEveryReasonIsExplained: each reason has a cause, a place and a fix, and docs/errors.md has them.
func TestEveryReasonIsExplained(t *testing.T) {
	src := parseWire(t)
	out := errorsIntro
	for _, r := range src.reasons {
		reason := rpc.Reason(r)
		if src.fields[r] == "" || reason.Where() == "" || reason.Fix() == "" || reason.Code() == rpc.CodeInternalError && reason != rpc.ReasonInternal {
			t.Errorf("%s: cause %q, where %q, fix %q, code %d", r, src.fields[r], reason.Where(), reason.Fix(), reason.Code())
		}
		out += fmt.Sprintf("| [`%s`](troubleshooting.md#%s) | %s | %s | %s |\n", r, anchor(r), reason.Where(), src.fields[r], reason.Fix())
	}
	if len(src.reasons) != len(rpc.Reasons()) {
		t.Errorf("%d reasons in the source, %d in the table", len(src.reasons), len(rpc.Reasons()))
	}
	if *update {
		if err := os.WriteFile(errorsPage, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(out, string(got)); diff != "" {
		t.Errorf("docs/errors.md is out of date, run make docs:\n%s", diff)
	}
}

const referenceIntro = `# RPC

<!-- Made from the method table and the wire types by "make docs". -->

JSON-RPC 2.0 on the Unix socket ` + "`" + rpc.DefaultSocket + "`" + `: a stream of JSON values in both directions, with or without line feeds
between them. Single requests, batches and notifications are served, on several connections in parallel. Parameters are by
name; unknown ones are refused. Results may get more fields in later versions. Work that a request started continues when
its connection ends.

    echo '{"jsonrpc":"2.0","id":1,"method":"agent.status"}' | socat - UNIX-CONNECT:` + rpc.DefaultSocket + `

For programs ` + "`rpc.discover`" + ` answers with this page as an [OpenRPC](https://open-rpc.org) document. Go programs
import ` + "`github.com/sendense/backup-agent/rpc`" + `.

The mode of the socket's file decides who may connect. Every user that can connect may call the methods marked *read*. Methods
marked *operate* are for root, the daemon's own user, and members of the socket's group.

## Methods

`

// writeReference makes the reference from the OpenRPC document and the comments of the types and fields in the source.
func writeReference(t *testing.T) string {
	src := parseWire(t)
	table := methods(nil)
	doc := describe(append(table, discover(table, "")), "")
	types := doc.Components["schemas"].(map[string]any)
	var out strings.Builder
	out.WriteString(referenceIntro)
	out.WriteString("| method | who | what it does |\n|---|---|---|\n")
	for _, m := range doc.Methods {
		fmt.Fprintf(&out, "| [`%s`](#%s) | %s | %s |\n", m.Name, anchor(m.Name), m.Access, summary(m))
	}
	for i, m := range doc.Methods {
		fmt.Fprintf(&out, "\n### %s\n\n%s. *%s*\n\n", m.Name, capital(summary(m)), m.Access)
		if i < len(table) && len(m.Params) > 0 {
			out.WriteString(src.about(table[i].params.Name()) + "\n\n| parameter | type | | meaning |\n|---|---|---|---|\n")
			for _, p := range m.Params {
				writeRow(&out, p.Name, p.Schema, p.Required, "required", src.fields[table[i].params.Name()+"."+p.Name])
			}
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "Result: %s\n\nErrors: %s\n", typeName(m.Result.Schema), reasonLinks(m))
		if m.Notification != nil {
			fmt.Fprintf(&out, "\nNotifications follow on the same connection: `%s` with %s.\n", m.Notification.Name, typeName(m.Notification.Schema))
		}
	}
	out.WriteString("\n## Types\n")
	for _, name := range slices.Sorted(maps.Keys(types)) {
		writeType(t, &out, src, name, types[name].(map[string]any))
	}
	writeErrors(&out, src)
	return out.String()
}

// writeWords makes the words of the OpenRPC document from the comments of the types, fields and reasons in the source.
func writeWords(t *testing.T) string {
	src := parseWire(t)
	words := meanings{Types: map[string]string{}, Fields: map[string]string{}, Reasons: map[string]string{}}
	plain := func(to map[string]string, key, text string) {
		if text = strings.ReplaceAll(text, `\|`, "|"); text != "" {
			to[key] = text
		}
	}
	for name, fields := range src.order {
		plain(words.Types, name, src.types[name])
		for _, field := range fields {
			plain(words.Fields, name+"."+field, src.fields[name+"."+field])
		}
	}
	for _, reason := range src.reasons {
		plain(words.Reasons, reason, src.fields[reason])
	}
	data, err := json.MarshalIndent(words, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

// reasonLinks lists the reasons for which a method fails.
func reasonLinks(m documentMethod) string {
	var links []string
	for _, e := range m.Errors {
		reason := e.Ref[strings.LastIndexByte(e.Ref, '/')+1:]
		links = append(links, fmt.Sprintf("[`%s`](troubleshooting.md#%s)", reason, anchor(reason)))
	}
	return strings.Join(links, " · ")
}

func summary(m documentMethod) string {
	if m.Deprecated {
		return "deprecated: " + m.Summary
	}
	return m.Summary
}

func writeType(t *testing.T, out *strings.Builder, src wire, name string, schema map[string]any) {
	fmt.Fprintf(out, "\n### %s\n\n%s\n", name, src.about(name))
	properties := schema["properties"].(map[string]any)
	if len(properties) == 0 {
		return
	}
	required, _ := schema["required"].([]string)
	out.WriteString("\n| field | type | | meaning |\n|---|---|---|---|\n")
	if len(src.order[name]) != len(properties) {
		t.Errorf("%s: the source has the fields %q, the schema %d", name, src.order[name], len(properties))
	}
	for _, field := range src.order[name] {
		writeRow(out, field, properties[field], !slices.Contains(required, field), "may be absent", src.fields[name+"."+field])
	}
}

func writeRow(out *strings.Builder, name string, schema any, marked bool, mark, meaning string) {
	if !marked {
		mark = ""
	}
	fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", name, typeName(schema), mark, meaning)
}

func writeErrors(out *strings.Builder, src wire) {
	out.WriteString("\n## Errors\n\nThe `error` of an answer has `code`, `message` and `data`. Programs decide by `data.reason`; the message\n" +
		"and the hint are for people. [What to do about each](troubleshooting.md).\n\n| `data` | meaning |\n|---|---|\n")
	for _, field := range src.order["ErrorData"] {
		fmt.Fprintf(out, "| `%s` | %s |\n", field, src.fields["ErrorData."+field])
	}
	out.WriteString("\n| reason | code | HTTP status | meaning |\n|---|---|---|---|\n")
	for _, r := range src.reasons {
		reason := rpc.Reason(r)
		fmt.Fprintf(out, "| [`%s`](troubleshooting.md#%s) | %d | %d | %s |\n", r, anchor(r), reason.Code(), reason.HTTPStatus(), src.fields[r])
	}
}
