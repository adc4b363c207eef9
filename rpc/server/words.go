package server

import (
	_ "embed"
	"encoding/json"
)

// wordsOfSource are the comments of the wire types and reasons, as "make docs" reads them from the source of package rpc.
//
//go:embed words.json
var wordsOfSource []byte

// words say what the types, fields and reasons of the OpenRPC document mean.
var words = parseWords()

type meanings struct {
	Types   map[string]string `json:"types"`
	Fields  map[string]string `json:"fields"` // by "Type.field"
	Reasons map[string]string `json:"reasons"`
}

func parseWords() (m meanings) {
	if err := json.Unmarshal(wordsOfSource, &m); err != nil {
		panic(err) // it is embedded
	}
	return m
}

// about is the meaning of a type, or of its field.
func (m meanings) about(typ, field string) string {
	if field == "" {
		return m.Types[typ]
	}
	return m.Fields[typ+"."+field]
}
