package manifest_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

func TestRoundTrip(t *testing.T) {
	full := manifesttest.Full("Name with ünïcode/slash", 1_700_000_000)
	sum := digest.Of([]byte("image"))
	full.Disks[0].Digest = &sum
	minimal := manifesttest.Full("vm", 1)
	minimal.Policy, minimal.Tags, minimal.RequestID = "", nil, ""
	minimal.VM = manifest.VM{Name: "vm"}
	minimal.Disks[0].DeviceKey, minimal.Disks[0].Label, minimal.Disks[0].ChangeID = 0, "", ""
	minimal.Disks[0].ReceivedBytes = 1<<64 - 1
	encrypted := manifesttest.Full("vm", 2)
	encrypted.Disks[0].Encryption = &manifest.Encryption{Format: manifest.LUKS, KeyID: "backup-2026"}
	for _, m := range []manifest.Manifest{full, manifesttest.Incremental(full, 1_700_000_100), minimal, encrypted} {
		text, err := m.Encode()
		must(t, err)
		got, err := manifest.Decode(text)
		must(t, err)
		m.CreatedAt, m.CompletedAt, m.Digest = m.CreatedAt.UTC(), m.CompletedAt.UTC(), got.Digest
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	}
}

// TestTimesAreUTC: times are written in UTC, whatever the zone of the machine.
func TestTimesAreUTC(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	m.CreatedAt = m.CreatedAt.In(time.FixedZone("", 3600))
	text, err := m.Encode()
	must(t, err)
	if !bytes.Contains(text, []byte(`"created_at": "2023-11-14T22:13:20Z"`)) {
		t.Errorf("%s", text)
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*manifest.Manifest)
		want   string
	}{
		"no version":            {func(m *manifest.Manifest) { m.Version = 0 }, "not a manifest of an agent"},
		"newer":                 {func(m *manifest.Manifest) { m.Version = 2 }, "install a newer agent"},
		"no id":                 {func(m *manifest.Manifest) { m.BackupID = "" }, "backup_id"},
		"id leads up":           {func(m *manifest.Manifest) { m.BackupID = ".." }, "backup_id"},
		"id is a path":          {func(m *manifest.Manifest) { m.BackupID = "a/b" }, "backup_id"},
		"id is hidden":          {func(m *manifest.Manifest) { m.BackupID = ".failed" }, "backup_id"},
		"id has a newline":      {func(m *manifest.Manifest) { m.BackupID = "a\n" }, "backup_id"},
		"id is too long":        {func(m *manifest.Manifest) { m.BackupID = strings.Repeat("a", 256) }, "backup_id"},
		"type auto":             {func(m *manifest.Manifest) { m.Type = record.Auto }, "backup_type"},
		"incremental, orphan":   {func(m *manifest.Manifest) { m.Type = record.Incremental }, "parent"},
		"parent leads up":       {func(m *manifest.Manifest) { m.Type, m.Parent = record.Incremental, "../x" }, "parent"},
		"own parent":            {func(m *manifest.Manifest) { m.Type, m.Parent = record.Incremental, m.BackupID }, "restore point itself"},
		"full with a parent":    {func(m *manifest.Manifest) { m.Parent = "backup-vm-1" }, "has none"},
		"no repository":         {func(m *manifest.Manifest) { m.Repository = "" }, "repository_id"},
		"no creation":           {func(m *manifest.Manifest) { m.CreatedAt = time.Time{} }, "created_at"},
		"sequence of nobody":    {func(m *manifest.Manifest) { m.Sequence = 1 << 53 }, "sequence"},
		"far future":            {func(m *manifest.Manifest) { m.CompletedAt = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) }, "completed_at"},
		"no vm":                 {func(m *manifest.Manifest) { m.VM.Name = "" }, "vm name"},
		"no disks":              {func(m *manifest.Manifest) { m.Disks = nil }, "disks"},
		"disk id twice":         {func(m *manifest.Manifest) { m.Disks[1].DiskID = 0 }, "two disks"},
		"disk id negative":      {func(m *manifest.Manifest) { m.Disks[1].DiskID = -1 }, "disk_id"},
		"device key twice":      {func(m *manifest.Manifest) { m.Disks[1].DeviceKey = 2000 }, "disk key"},
		"disk key twice":        {func(m *manifest.Manifest) { m.Disks[1].Key = 2000 }, "disk_key"},
		"disk key too large":    {func(m *manifest.Manifest) { m.Disks[1].Key = 1 << 31 }, "disk_key"},
		"file twice":            {func(m *manifest.Manifest) { m.Disks[1].File = strings.ToUpper(m.Disks[0].File) }, "another disk has the same"},
		"no file":               {func(m *manifest.Manifest) { m.Disks[0].File = "" }, "file"},
		"file leads up":         {func(m *manifest.Manifest) { m.Disks[0].File = "../x.qcow2" }, "file"},
		"file is absolute":      {func(m *manifest.Manifest) { m.Disks[0].File = "/etc/shadow" }, "file"},
		"file is the directory": {func(m *manifest.Manifest) { m.Disks[0].File = "." }, "file"},
		"file is the manifest":  {func(m *manifest.Manifest) { m.Disks[0].File = "Manifest.json.new" }, "file"},
		"file not UTF-8":        {func(m *manifest.Manifest) { m.Disks[0].File = "\xff.qcow2" }, "file"},
		"format raw":            {func(m *manifest.Manifest) { m.Disks[0].Format = "raw" }, "format"},
		"no size":               {func(m *manifest.Manifest) { m.Disks[0].CapacityBytes = 0 }, "capacity_bytes"},
		"half a sector":         {func(m *manifest.Manifest) { m.Disks[0].CapacityBytes = 700 }, "capacity_bytes"},
		"huge":                  {func(m *manifest.Manifest) { m.Disks[0].CapacityBytes = 1 << 50 }, "capacity_bytes"},
		"allocated negative":    {func(m *manifest.Manifest) { m.Disks[0].AllocatedBytes = -1 }, "allocated_bytes"},
		"no check":              {func(m *manifest.Manifest) { m.Disks[0].Check = manifest.Check{} }, "check"},
		"odd encryption":        {func(m *manifest.Manifest) { m.Disks[0].Encryption = &manifest.Encryption{Format: "aes", KeyID: "k"} }, "encryption"},
		"odd key": {func(m *manifest.Manifest) {
			m.Disks[0].Encryption = &manifest.Encryption{Format: manifest.LUKS, KeyID: "../k"}
		}, "encryption"},
		"digest, odd algorithm": {func(m *manifest.Manifest) { m.Disks[0].Digest = &digest.Digest{Algorithm: "md5"} }, "digest"},
		"digest, not hex":       {func(m *manifest.Manifest) { m.Disks[0].Digest = &digest.Digest{Algorithm: "blake3", Value: "zz"} }, "digest"},
		"leaks negative":        {func(m *manifest.Manifest) { m.Disks[0].Check.LeaksRepaired = -1 }, "leaks_repaired"},
		"no content":            {func(m *manifest.Manifest) { m.Disks[0].Content = "" }, "content"},
		"changes in a full":     {func(m *manifest.Manifest) { m.Disks[0].Content = record.Changes }, "full backup"},
		"change in a full":      {func(m *manifest.Manifest) { m.Disks[0].Change = record.Same }, "full backup"},
		"whole, with backing":   {func(m *manifest.Manifest) { m.Disks[0].Backing = "../a/b" }, "a whole disk has none"},
		"removed from a full":   {func(m *manifest.Manifest) { m.RemovedDisks = []int{3} }, "removed_disks"},
	}
	incremental := map[string]struct {
		change func(*manifest.Manifest)
		want   string
	}{
		"no change":               {func(m *manifest.Manifest) { m.Disks[0].Change = "" }, "change"},
		"odd change":              {func(m *manifest.Manifest) { m.Disks[0].Change = "shrunk" }, "change"},
		"no backing":              {func(m *manifest.Manifest) { m.Disks[0].Backing = "" }, "backing"},
		"backing of another":      {func(m *manifest.Manifest) { m.Disks[0].Backing = "../backup-vm-5/x.qcow2" }, "backing"},
		"backing leads out":       {func(m *manifest.Manifest) { m.Disks[0].Backing = "../" + m.Parent + "/../../../etc/shadow" }, "backing"},
		"backing is absolute":     {func(m *manifest.Manifest) { m.Disks[0].Backing = "/etc/shadow" }, "backing"},
		"backing is a directory":  {func(m *manifest.Manifest) { m.Disks[0].Backing = "../" + m.Parent + "/.." }, "backing"},
		"backing is a protocol":   {func(m *manifest.Manifest) { m.Disks[0].Backing = "nbd://host/x" }, "backing"},
		"removed twice":           {func(m *manifest.Manifest) { m.RemovedDisks = []int{3, 3} }, "removed_disks"},
		"removed is no id":        {func(m *manifest.Manifest) { m.RemovedDisks = []int{1000} }, "removed_disks"},
		"full although it stands": {func(m *manifest.Manifest) { m.Type = record.Full }, "parent"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := manifesttest.Full("vm", 1_700_000_000)
			test.change(&m)
			wantRefused(t, m, test.want)
		})
	}
	for name, test := range incremental {
		t.Run("incremental, "+name, func(t *testing.T) {
			m := manifesttest.Incremental(manifesttest.Full("vm", 1_700_000_000), 1_700_000_100)
			test.change(&m)
			wantRefused(t, m, test.want)
		})
	}
}

// TestNamesAreText: JSON cannot contain other bytes, and would replace them.
func TestNamesAreText(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	m.VM.Name = "a\xff"
	_, err := m.Encode()
	wantError(t, err, "vm name")
}

// wantRefused: Encode and Decode refuse the same.
func wantRefused(t *testing.T, m manifest.Manifest, want string) {
	t.Helper()
	_, err := m.Encode()
	wantError(t, err, "manifest", want)
	text, err := json.Marshal(m)
	must(t, err)
	if _, err := manifest.Decode(text); err == nil {
		t.Errorf("decoded, want an error about %s", want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := manifesttest.Full("vm", 1_700_000_000).EncodeUnsealed() // without a digest, which would refuse all of this
	must(t, err)
	replace := func(from, to string) []byte {
		if !bytes.Contains(good, []byte(from)) {
			t.Fatalf("the manifest has no %s", from)
		}
		return bytes.Replace(good, []byte(from), []byte(to), 1)
	}
	tests := map[string]struct {
		text []byte
		want string
	}{
		"nothing":            {nil, "unexpected end"},
		"cut short":          {good[:len(good)/2], "unexpected end"},
		"two of them":        {append(bytes.Clone(good), good...), "after top-level value"},
		"a list":             {[]byte("[]"), "cannot unmarshal"},
		"null":               {[]byte("null"), "version 0"},
		"not UTF-8":          {replace("Hard disk", "Hard\xffdisk"), "UTF-8"},
		"huge":               {append(bytes.Clone(good), bytes.Repeat([]byte(" "), manifest.MaxBytes)...), "more than"},
		"version 2":          {replace(`"version": 1`, `"version": 2, "new": {}`), "install a newer agent"},
		"version as text":    {replace(`"version": 1`, `"version": "1"`), "version"},
		"unknown field":      {replace(`"version": 1`, `"version": 1, "extra": 1`), `unknown field "extra"`},
		"unknown disk field": {replace(`"disk_id": 0`, `"disk_id": 0, "extra": 1`), `unknown field "extra"`},
		"other letters":      {replace(`"backup_id"`, `"Backup_ID"`), "Backup_ID"},
		"empty option":       {replace(`"version": 1`, `"version": 1, "parent": ""`), "parent"},
		"null option":        {replace(`"version": 1`, `"version": 1, "removed_disks": null`), "removed_disks"},
		"missing field":      {replace(`"received_bytes": 1048576,`, ""), "received_bytes"},
		"zone":               {replace(`22:13:20Z`, `23:13:20+01:00`), "created_at"},
		"size past 64 bits":  {replace(`"received_bytes": 1048576`, `"received_bytes": 18446744073709551616`), "cannot unmarshal"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Decode(test.text)
			wantError(t, err, test.want)
		})
	}
}

// TestOrderAndSpace: order and white space of a manifest without digest do not matter.
func TestOrderAndSpace(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	text, err := m.EncodeUnsealed()
	must(t, err)
	var generic map[string]any
	must(t, json.Unmarshal(text, &generic))
	sorted, err := json.Marshal(generic)
	must(t, err)
	got, err := manifest.Decode(sorted)
	must(t, err)
	if !reflect.DeepEqual(got.Disks, m.Disks) {
		t.Errorf("%+v", got.Disks)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	full := manifesttest.Full("vm", 1_700_000_000)
	sum := digest.Of(nil)
	full.Disks[0].Digest = &sum
	for _, m := range []manifest.Manifest{full, manifesttest.Incremental(full, 1_700_000_100)} {
		text, err := m.Encode()
		must(f, err)
		f.Add(text)
		text, err = m.EncodeUnsealed()
		must(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"version": 1, "disks": [null], "vm": {}}`))
	f.Add([]byte(`{"version": 1, "backup_id": "../x"}`))
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Decode(text)
		if err != nil {
			return
		}
		matches(t, schema, text)
		again, err := m.Encode()
		must(t, err)
		back, err := manifest.Decode(again)
		must(t, err)
		m.Digest = back.Digest // of another order of the same
		if d := cmp.Diff(m, back); d != "" {
			t.Error(d)
		}
		b := m.Backup("main", "/repository/vm/"+m.BackupID)
		if b.State != record.Completed || len(b.Runs) != len(b.VM.Disks) || !b.AllComplete() {
			t.Errorf("%+v", b)
		}
		must(t, b.VM.Validate())
	})
}
