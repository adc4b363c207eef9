package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// openRPCVersion is the version of the OpenRPC specification that the document follows.
const openRPCVersion = "1.3.2"

// document is the part of an OpenRPC document that is used: https://spec.open-rpc.org.
type document struct {
	OpenRPC    string           `json:"openrpc"`
	Info       documentInfo     `json:"info"`
	Methods    []documentMethod `json:"methods"`
	Components map[string]any   `json:"components"`
}

type documentInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type documentMethod struct {
	Name           string       `json:"name"`
	Summary        string       `json:"summary"`
	Description    string       `json:"description,omitempty"`
	Deprecated     bool         `json:"deprecated,omitempty"`
	ParamStructure string       `json:"paramStructure"`
	Params         []descriptor `json:"params"`
	Result         descriptor   `json:"result"`
	Errors         []errorRef   `json:"errors"`
	Access         access       `json:"x-access"`
	Notification   *descriptor  `json:"x-notification,omitempty"` // pushed after the answer: method and params
}

// A descriptor always says whether it is required: a generator takes what does not say so for required.
type descriptor struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
	Schema      any    `json:"schema"`
}

type errorRef struct {
	Ref string `json:"$ref"`
}

// discover is the row of rpc.discover, which describes the table and itself.
func discover(table []method, version string) method {
	m := raw[rpc.None](rpc.MethodDiscover, read, "describe every method as an OpenRPC document",
		func(context.Context, json.RawMessage) (any, error) { return nil, nil })
	doc := describe(append(slices.Clone(table), m), version)
	m.handle = func(context.Context, *exchange, json.RawMessage) (any, error) { return doc, nil }
	return m
}

func describe(table []method, version string) document {
	types := schema.NewSet()
	types.About, types.Title = words.about, titles(table)
	doc := document{
		OpenRPC: openRPCVersion,
		Info: documentInfo{
			Title: "sendense-agent",
			Description: "Backups of whole VMs. Parameters are by name; unknown ones are refused. Results may get more fields, " +
				"and methods more errors. Programs decide by the reason in the data of an error.",
			Version: version,
		},
	}
	for _, m := range table {
		doc.Methods = append(doc.Methods, describeMethod(types, m))
	}
	doc.Components = map[string]any{"schemas": types.Defs, "errors": describeErrors()}
	return doc
}

func describeMethod(types *schema.Set, m method) documentMethod {
	d := documentMethod{
		Name: m.name, Summary: m.summary, Deprecated: m.deprecated, Access: m.access,
		ParamStructure: "by-name",
		Params:         []descriptor{},
		Result:         descriptor{Name: "result", Required: true, Schema: types.Of(m.result)},
		Description:    words.about(m.params.Name(), ""),
		Errors:         []errorRef{},
	}
	for _, reason := range m.reasons() {
		d.Errors = append(d.Errors, errorRef{"#/components/errors/" + string(reason)})
	}
	for _, p := range types.Properties(m.params) {
		d.Params = append(d.Params, descriptor{Name: p.Name, Description: p.About, Required: p.Required, Schema: p.Schema})
	}
	if m.notifies != "" {
		d.Notification = &descriptor{Name: m.notifies, Required: true, Schema: types.Of(m.pushes)}
	}
	return d
}

func describeErrors() map[string]*rpc.Error {
	errors := map[string]*rpc.Error{}
	for _, reason := range rpc.Reasons() {
		errors[string(reason)] = rpc.NewError(reason, words.Reasons[string(reason)])
	}
	return errors
}

// titles names the types for generated clients. A client names its methods too: backup.list is BackupList there, so a type of that
// name gets another title.
func titles(table []method) func(typ string) string {
	methods := map[string]bool{}
	for _, m := range table {
		methods[strings.ToLower(strings.NewReplacer(".", "", "_", "").Replace(m.name))] = true
	}
	return func(typ string) string {
		if methods[strings.ToLower(typ)] {
			return typ + "Result"
		}
		return typ
	}
}
