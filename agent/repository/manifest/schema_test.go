package manifest_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

const schemaPath = "../../../docs/manifest.schema.json"

// object is the part of a struct's schema that the test reads.
type object struct {
	AdditionalProperties bool                       `json:"additionalProperties"`
	Required             []string                   `json:"required"`
	Properties           map[string]json.RawMessage `json:"properties"`
	Defs                 map[string]json.RawMessage `json:"$defs"`
}

// TestSchemaIsTheType: every field of the Go types is in the schema with a description, and vice versa.
func TestSchemaIsTheType(t *testing.T) {
	text, err := os.ReadFile(schemaPath)
	must(t, err)
	var root object
	must(t, json.Unmarshal(text, &root))
	for name, typ := range map[string]reflect.Type{
		"":      reflect.TypeFor[manifest.Manifest](),
		"vm":    reflect.TypeFor[manifest.VM](),
		"disk":  reflect.TypeFor[manifest.Disk](),
		"check": reflect.TypeFor[manifest.Check](),

		"encryption": reflect.TypeFor[manifest.Encryption](),
		"digest":     reflect.TypeFor[digest.Digest](),
		"rewritten":  reflect.TypeFor[record.Merged](),
	} {
		t.Run(typ.Name(), func(t *testing.T) {
			schema := object{AdditionalProperties: true}
			if name == "" {
				must(t, json.Unmarshal(text, &schema))
			} else {
				must(t, json.Unmarshal(root.Defs[name], &schema))
			}
			compareFields(t, schema, typ)
		})
	}
}

func compareFields(t *testing.T, schema object, typ reflect.Type) {
	t.Helper()
	if schema.AdditionalProperties {
		t.Error("the schema lets unknown fields pass")
	}
	var names, required []string
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		var described struct {
			Description string `json:"description"`
		}
		if property, ok := schema.Properties[name]; ok {
			must(t, json.Unmarshal(property, &described))
			if described.Description == "" {
				t.Errorf("%s has no description", name)
			}
		}
	}
	if d := cmp.Diff(slices.Sorted(slices.Values(names)), slices.Sorted(maps.Keys(schema.Properties))); d != "" {
		t.Errorf("fields (-type +schema):\n%s", d)
	}
	if d := cmp.Diff(slices.Sorted(slices.Values(required)), slices.Sorted(slices.Values(schema.Required))); d != "" {
		t.Errorf("required (-type +schema):\n%s", d)
	}
}

func TestSchemaTakesManifests(t *testing.T) {
	schema := compileSchema(t)
	full := manifesttest.Full("Name with ünïcode", 1_700_000_000)
	for _, m := range []manifest.Manifest{full, manifesttest.Incremental(full, 1_700_000_100)} {
		text, err := m.Encode()
		must(t, err)
		matches(t, schema, text)
	}
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(schemaPath)
	must(t, err)
	return schema
}

func matches(t testing.TB, schema *jsonschema.Schema, text []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	must(t, err)
	if err := schema.Validate(value); err != nil {
		t.Errorf("the schema refuses what the agent takes:\n%s\n%v", text, err)
	}
}
