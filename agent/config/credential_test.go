package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVCenterPassword(t *testing.T) {
	directory := t.TempDir()
	for name, content := range map[string]string{
		"plain": "pass word", "newline": "pass\n", "crlf": "pass\r\n", "two": "pass\n\n", "empty": "\n",
		"long": strings.Repeat("x", maxCredentialBytes+1),
	} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ credential, directory, want, problem string }{
		{"plain", directory, "pass word", ""},
		{"newline", directory, "pass", ""},
		{"crlf", directory, "pass", ""},
		{"two", directory, "pass\n", ""},
		{"empty", directory, "", "is empty"},
		{"long", directory, "", "is longer than 65536 bytes"},
		{"none", directory, "", "no such file"},
		{"plain", "", "", "systemd gave the daemon no credentials"},
		{"../plain", directory, "", "is not the name of a credential"},
	} {
		t.Run(c.credential, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", c.directory)
			config := Config{VCenters: map[string]VCenter{"main": {PasswordCredential: c.credential}}}
			got, err := config.VCenterPassword("main")
			if got != c.want || (err == nil) != (c.problem == "") {
				t.Fatalf("got %q, error %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.problem) || !strings.Contains(err.Error(), `vcenter "main"`)) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Default().VCenterPassword("x"); err == nil || !strings.Contains(err.Error(), `vcenter "x"`) {
		t.Errorf("an unknown one: %v", err)
	}
}
