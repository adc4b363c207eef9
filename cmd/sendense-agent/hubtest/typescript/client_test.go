package typescript_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

const source = "../../../../rpc/typescript"

// modules is where .ci/typescript installs the generator.
func modules(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	hubtest.Must(t, err)
	dir := filepath.Join(cache, "sendense-agent/typescript")
	want, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	hubtest.Must(t, err)
	if got, err := os.ReadFile(filepath.Join(dir, "package-lock.json")); err != nil || string(got) != string(want) {
		t.Fatalf("the generator is not installed as %s/package-lock.json says: run make deps", source)
	}
	return filepath.Join(dir, "node_modules")
}

// document writes the answer of rpc.discover to a file.
func document(t *testing.T, h *hubtest.Hub) string {
	t.Helper()
	var doc json.RawMessage
	hubtest.Must(t, h.Dial().Call(t.Context(), rpc.MethodDiscover, nil, &doc))
	file := filepath.Join(t.TempDir(), "openrpc.json")
	hubtest.Must(t, os.WriteFile(file, doc, 0o644))
	return file
}

// validate prints the errors of a document by the meta-schema of OpenRPC. The second document must have some.
const validate = `
const { validateOpenRPCDocument } = require("@open-rpc/schema-utils-js");
const document = require(process.argv[1]);
const say = (d) => { const result = validateOpenRPCDocument(d); return result === true ? "" : String(result.message || result); };
console.log(JSON.stringify([say(document), say({ ...document, methods: [{ name: 1 }] })]));
`

func TestDocumentIsValid(t *testing.T) {
	h := hubtest.New(t)
	t.Setenv("NODE_PATH", modules(t))
	var problems []string
	hubtest.Must(t, json.Unmarshal([]byte(hubtest.Run(t, "node", "--eval", validate, document(t, h))), &problems))
	if len(problems) != 2 || problems[0] != "" || problems[1] == "" {
		t.Errorf("the document, and one that is wrong: %q", problems)
	}
}

func TestGeneratedClient(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	dir := filepath.Join(t.TempDir(), "client")
	t.Setenv("NODE_MODULES", modules(t))
	program, err := os.ReadFile("testdata/backup.ts")
	hubtest.Must(t, err)
	hubtest.Must(t, os.MkdirAll(dir, 0o755))
	hubtest.Must(t, os.WriteFile(filepath.Join(dir, "backup.ts"), program, 0o644))
	hubtest.Run(t, filepath.Join(source, "generate"), document(t, h), dir)

	var said struct {
		Version string
		Refused rpc.Error
		Backup  rpc.Backup
		Listed  []string
	}
	hubtest.Must(t, json.Unmarshal([]byte(hubtest.Run(t, "node", filepath.Join(dir, "build/backup.js"), "pgtest1")), &said))
	if said.Version == "" || said.Refused.Data.Reason != rpc.ReasonVMNotFound || said.Refused.Code != rpc.ReasonVMNotFound.Code() {
		t.Errorf("version %q, refused with %+v", said.Version, said.Refused)
	}
	if said.Backup.State != rpc.Completed || said.Backup.VMName != "pgtest1" || !slices.Equal(said.Listed, []string{said.Backup.BackupID}) {
		t.Errorf("%+v, listed %q", said.Backup, said.Listed)
	}
	h.Completes(said.Backup.BackupID, sources)

	client, err := os.ReadFile(filepath.Join(dir, "client.ts"))
	hubtest.Must(t, err)
	for _, words := range []string{"Backup is the record of one backup of one VM", `public "backup.start": BackupStart`} {
		if !strings.Contains(string(client), words) {
			t.Errorf("the client does not say %q", words)
		}
	}
}
