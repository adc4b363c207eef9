package pair

import (
	"strings"
	"testing"
)

func TestSpecCheck(t *testing.T) {
	good := Spec{Name: "sendense-nbd-x-disk0-1", Argv: []string{"/bin/true"}, ListenAddress: "127.0.0.1:10100"}
	if err := good.Check(false); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Spec){
		"empty name":       func(s *Spec) { s.Name = "" },
		"long name":        func(s *Spec) { s.Name = strings.Repeat("x", MaxNameLen+1) },
		"slash":            func(s *Spec) { s.Name = "a/b" },
		"escape":           func(s *Spec) { s.Name = `a\x2db` },
		"template":         func(s *Spec) { s.Name = "a@b" },
		"pattern":          func(s *Spec) { s.Name = "a*" },
		"space":            func(s *Spec) { s.Name = "a b" },
		"no command":       func(s *Spec) { s.Argv = nil },
		"relative command": func(s *Spec) { s.Argv = []string{"true"} },
		"zero byte":        func(s *Spec) { s.Argv = []string{"/bin/true", "a\x00b"} },
		"host name":        func(s *Spec) { s.ListenAddress = "localhost:10100" },
		"no port":          func(s *Spec) { s.ListenAddress = "127.0.0.1" },
		"port 0":           func(s *Spec) { s.ListenAddress = "127.0.0.1:0" },
		"relative dir":     func(s *Spec) { s.WritableDirs = []string{"a"} },
		"unclean dir":      func(s *Spec) { s.ReadOnlyDirs = []string{"/a/../b"} },
		"root dir":         func(s *Spec) { s.HiddenDirs = []string{"/"} },
		"negative time":    func(s *Spec) { s.StopTimeout = -1 },
		"credential name":  func(s *Spec) { s.Credentials = []Credential{{"a/b", "/a"}} },
		"relative source":  func(s *Spec) { s.Credentials = []Credential{{"a", "a"}} },
		"credential twice": func(s *Spec) { s.Credentials = []Credential{{"a", "/a"}, {"a", "/b"}} },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(false); err == nil {
			t.Errorf("%s: %+v was not refused", name, bad)
		}
	}
	asUser := good
	asUser.User = "root"
	if err := asUser.Check(true); err == nil {
		t.Error("a user's manager was asked to change the user")
	}
	asUser = good
	asUser.Credentials = []Credential{{"a", "/a"}}
	if err := asUser.Check(true); err == nil {
		t.Error("a user's manager was asked for a credential")
	}
}
