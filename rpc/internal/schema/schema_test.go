package schema

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/rpc"
)

type wire struct {
	Name  string            `json:"name"`
	Kind  string            `json:"kind,omitempty" enum:"a,b"`
	Count uint16            `json:"count,omitempty"`
	Deep  *wire             `json:"deep,omitempty"`
	List  []int             `json:"list,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
}

func TestDecode(t *testing.T) {
	for in, want := range map[string]string{
		`{"name":"x","kind":"b","count":65535,"deep":{"name":"y"},"list":[1,2],"tags":{"a":"b"}}`: "",
		`{"name":"x","deep":null,"list":null,"tags":null,"kind":""}`:                              "",
		``:                                   "name is missing",
		`null`:                               "name is missing",
		`7`:                                  "want an object, not the number 7",
		`{"name":"x","Kind":"a"}`:            `unknown field "Kind": want name, kind, count, deep, list or tags`,
		`{"name":"x","kind":"c"}`:            `kind: want a or b, not "c"`,
		`{"name":"x","count":65536}`:         "count: want an integer of 16 bits, not the number 65536",
		`{"name":"x","count":-1}`:            "count: want an integer of 16 bits, not the number -1",
		`{"name":"x","deep":{"nam":"y"}}`:    `unknown field "deep.nam": want name, kind, count, deep, list or tags`,
		`{"name":"x","deep":{}}`:             "deep.name is missing",
		`{"name":"x","deep":[]}`:             "deep: want an object, not an array",
		`{"name":"x","list":[1,"2"]}`:        "list[1]: want an integer of 64 bits, not a string",
		`{"name":"x","list":[1,null]}`:       "list[1]: want an integer of 64 bits, not null",
		`{"name":"x","tags":{"a":true}}`:     `tags["a"]: want a string, not true`,
		`{"name":"x","tags":{"a":"","a":1}}`: `tags: field "a" comes twice`,
	} {
		var v wire
		err := Decode(json.RawMessage(in), &v)
		var e *rpc.Error
		switch {
		case want == "" && err == nil:
		case want == "" || !errors.As(err, &e) || e.Data.Reason != rpc.ReasonInvalidRequest || e.Message != want:
			t.Errorf("%s\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestDescription(t *testing.T) {
	set := NewSet()
	set.Title = func(typ string) string { return typ + "!" }
	set.About = func(typ, field string) string {
		return map[string]string{"wire": "a thing", "wire.name": "its name", "wire.deep": "another"}[strings.TrimSuffix(typ+"."+field, ".")]
	}
	got := map[string]any{"of": set.Of(reflect.TypeFor[[]wire]()), "defs": set.Defs}
	text, _ := json.Marshal(got)
	ref := `{"$ref":"#/components/schemas/wire"}`
	want := `{"defs":{"wire":{"description":"a thing","properties":{"count":{"minimum":0,"type":"integer"},` +
		`"deep":{"$ref":"#/components/schemas/wire","description":"another"}` +
		`,"kind":{"enum":["a","b"],"type":"string"},"list":{"items":{"type":"integer"},"type":"array"},"name":{"description":"its name","type":"string"},` +
		`"tags":{"additionalProperties":{"type":"string"},"type":"object"}},"required":["name"],"title":"wire!","type":"object"}},` +
		`"of":{"items":` + ref + `,"type":"array"}}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecode: what is accepted is what encoding/json reads, and can be written and read again.
func FuzzDecode(f *testing.F) {
	f.Add(`{"name":"x","kind":"b","count":65535,"deep":{"name":"y"},"list":[1,2],"tags":{"a":"b"}}`)
	f.Add(`{"name":"x","name":"y"}`)
	f.Add(`{"name":"\ud800","tags":{"":""}}`)
	f.Add(`[[`)
	f.Fuzz(func(t *testing.T, in string) {
		var strict, lax wire
		err := Decode(json.RawMessage(in), &strict)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without text")
			}
			return
		}
		if err := json.Unmarshal([]byte(in), &lax); err != nil || !reflect.DeepEqual(strict, lax) {
			t.Errorf("%q: strict %+v, lax %+v, %v", in, strict, lax, err)
		}
		again, _ := json.Marshal(strict)
		if err := Decode(again, new(wire)); err != nil {
			t.Errorf("%q was accepted, %s is not: %v", in, again, err)
		}
	})
}
