package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/nbd/iomode"
)

// Two keys, as base64 of 48 random bytes.
const (
	oneKey   = "Xq0q4cJmVb1ZkHq3sZ5dGd4wq2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfG"
	otherKey = "R2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfGXq0q4cJmVb1ZkHq3sZ5dGd4w"
)

func secret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := NewSecret([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewSecret(t *testing.T) {
	for content, want := range map[string]string{
		"":                               "is empty",
		"\n":                             "newline",
		oneKey + "\n":                    "newline",
		oneKey + "\r\n":                  "newline",
		oneKey[:MinSecretBytes-1]:        "31 bytes long",
		strings.Repeat("k", 513):         "513 bytes long",
		strings.Repeat("k", 31) + "\xff": "byte 32 is not a printable",
		"k" + strings.Repeat("\x00", 40): "byte 2 is not a printable",
		strings.Repeat("two words ", 5):  "byte 4 is not a printable",
	} {
		_, err := NewSecret([]byte(content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
		if err != nil && len(content) > 3 && strings.Contains(err.Error(), content[:4]) {
			t.Errorf("%q: is told: %v", content, err)
		}
	}
	for _, content := range []string{oneKey, oneKey[:MinSecretBytes], strings.Repeat("~", MaxSecretBytes)} {
		secret(t, content)
	}
}

// TestSecretIsNotPrinted tries the ways by which a value can get into a log or an error by mistake.
func TestSecretIsNotPrinted(t *testing.T) {
	s := secret(t, oneKey)
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("x", "key", s, "tools", Tools{}.WithKey(s))
	}
	text := log.String() + fmt.Sprint(s, &s, Tools{}.WithKey(s)) + fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s) + fmt.Sprintf("%+v %#v", Tools{Key: s}, Tools{Key: s})
	if strings.Contains(text, oneKey) {
		t.Error(text)
	}
}

// encryptedImage makes an image with a key.
func encryptedImage(t *testing.T, tools Tools, path, backing string) string {
	t.Helper()
	if err := tools.Create(testContext(t), ImageSpec{Path: path, SizeBytes: 8 * MiB, BackingFile: backing}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEncrypted: an image that was made with a key can be opened with it, and with no other.
func TestEncrypted(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	plain := Tools{Credential: otherUser()}
	keyed, wrong := plain.WithKey(secret(t, oneKey)), plain.WithKey(secret(t, otherKey))
	path := encryptedImage(t, keyed, filepath.Join(dir, "a.qcow2"), "")
	naked := encryptedImage(t, plain, filepath.Join(dir, "naked.qcow2"), "")
	info, err := plain.Info(path)
	if err != nil || !info.Encrypted || info.VirtualBytes != 8*MiB {
		t.Errorf("%+v, %v", info, err)
	}
	for _, c := range []struct {
		tools Tools
		path  string
		want  error
	}{{keyed, path, nil}, {wrong, path, ErrWrongKey}, {plain, path, ErrKeyNeeded}, {keyed, naked, ErrNotEncrypted}, {plain, naked, nil}} {
		if err := c.tools.Unlock(ctx, c.path); !errors.Is(err, c.want) {
			t.Errorf("unlock %s: %v, want %v", c.path, err, c.want)
		}
		if _, err := c.tools.Check(ctx, c.path); !errors.Is(err, c.want) {
			t.Errorf("check %s: %v, want %v", c.path, err, c.want)
		}
	}
}

// TestServeEncrypted: a chain of layers with different keys can be written and read, also with a limit, and no data is in the files
// as plain text.
func TestServeEncrypted(t *testing.T) {
	dir := tempDir(t)
	var keys []KeyFile
	for i, text := range []string{oneKey, otherKey} {
		path := filepath.Join(dir, fmt.Sprintf("key,%d", i))
		if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, KeyFile{ID: fmt.Sprintf("key-%d", i), Path: path})
	}
	one, other := Tools{}.WithKey(secret(t, oneKey)), Tools{}.WithKey(secret(t, otherKey))
	full := encryptedImage(t, one, filepath.Join(dir, "a,full.qcow2"), "")
	middle := encryptedImage(t, one, filepath.Join(dir, "b.qcow2"), "a,full.qcow2")
	if bytes.Equal(masterKey(t, full), masterKey(t, middle)) {
		t.Error("two images with the same key have one master key: one helps to open the other")
	}
	top := encryptedImage(t, other, filepath.Join(dir, "c.qcow2"), "b.qcow2")
	write := func(o ServerOptions, pattern int) {
		t.Helper()
		o.Export, o.IO = "vm-disk0", iomode.Buffered
		s := startServer(t, o)
		out, err := exec.Command("qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P %d %dM 1M", pattern, pattern), "-c", "flush",
			"nbd://"+s.addr+"/vm-disk0").CombinedOutput()
		if err != nil || s.stop() != nil {
			t.Fatalf("%v: %s%s", err, out, s.stderr)
		}
	}
	write(ServerOptions{Image: full, Keys: keys[:1], RateLimit: 1 << 30}, 1)
	write(ServerOptions{Image: top, Keys: []KeyFile{keys[1], keys[0], keys[0]}}, 2)
	for _, path := range []string{full, top} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for pattern := byte(1); pattern <= 2; pattern++ {
			if bytes.Contains(content, bytes.Repeat([]byte{pattern}, 64)) {
				t.Errorf("%s: what was written stands in it", path)
			}
		}
	}
	s := startServer(t, ServerOptions{Image: top, Export: "vm-disk0", ReadOnly: true, Keys: []KeyFile{keys[1], keys[0], keys[0]}})
	out, err := exec.Command("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 1M 1M", "-c", "read -P 2 2M 1M", "-c", "read -P 0 3M 1M",
		"nbd://"+s.addr+"/vm-disk0").CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("failed")) {
		t.Errorf("%v: %s", err, out)
	}
	wrong := startServer(t, ServerOptions{Image: top, Export: "vm-disk0", ReadOnly: true, Keys: []KeyFile{keys[1], keys[1], keys[0]}})
	if err := wrong.wait(); err == nil || !strings.Contains(wrong.stderr.String(), wrongPassword) {
		t.Errorf("a wrong key in the chain: %v: %s", err, wrong.stderr)
	}
}

// masterKey returns what the header of an image says of its master key: a digest of it, and the salt.
func masterKey(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, []byte("LUKS\xba\xbe"))
	return content[at+112 : at+112+20+32]
}

// TestCreateTriesAgain: QEMU may fail to make an encrypted image without a real reason.
func TestCreateTriesAgain(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	name, path := filepath.Join(dir, "tool"), filepath.Join(dir, "a.qcow2")
	// Written by another process, as in TestToolThatMisbehaves. It may write to the image only.
	text := `for f; do case $f in *.qcow2) break;; esac; done; test -s "$f" && exit 0; echo begun >"$f"; echo "$1" >&2; echo "` + noProgress + `" >&2; exit 1`
	command := exec.Command("/bin/sh", "-c", `printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 700 "$2"`, "sh", text, name)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	tools := Tools{QemuImg: name, programDirs: []string{"/usr/bin", "/bin"}}
	if err := tools.WithKey(secret(t, oneKey)).Create(ctx, ImageSpec{Path: path, SizeBytes: MiB}); err != nil {
		t.Error(err)
	}
}
