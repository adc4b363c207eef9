package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/nbd"
)

func TestQEMUVersion(t *testing.T) {
	for _, tt := range []struct {
		version string
		err     error
		want    Status
		says    string
	}{
		{"7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", nil, OK, "7.2.22"},
		{"5.2.0", nil, OK, "5.2.0"},
		{"10.0", nil, OK, "10.0"},
		{"5.1.9", nil, Error, "older than 5.2"},
		{"4.9", nil, Error, "older than 5.2"},
		{"", nil, Warning, "not a version"},
		{"BusyBox v1.35", nil, Warning, "not a version"},
		{"", fmt.Errorf("run: %w", fs.ErrNotExist), Error, "not found"},
		{"", errors.New("exit status 127"), Error, "exit status 127"},
	} {
		got := qemuVersion(one("qemu-nbd", "/x"), tt.version, tt.err)
		if len(got) != 1 || got[0].Status != tt.want || !strings.Contains(got[0].Message, tt.says) {
			t.Errorf("%q, %v: %+v", tt.version, tt.err, got)
		}
	}
}

func TestExposed(t *testing.T) {
	ports := nbd.PortRange{First: 10100, Last: 10200}
	for _, tt := range []struct {
		first, last int
		reserved    string
		want        int
	}{
		{32768, 60999, "", 0},
		{1024, 65535, "", 101},
		{10150, 65535, "", 51},
		{1024, 10100, "", 1},
		{1024, 65535, "10100-10200", 0},
		{1024, 65535, "22,10100-10149,10200", 50},
		{1024, 65535, "nonsense,10100", 100},
	} {
		if got := exposed(ports, tt.first, tt.last, tt.reserved); got != tt.want {
			t.Errorf("%d-%d less %q: %d, want %d", tt.first, tt.last, tt.reserved, got, tt.want)
		}
	}
}

func TestExpectedMount(t *testing.T) {
	const fstab = `# comment
UUID=1 / ext4 defaults 0 1
nas:/a /srv/nas nfs defaults 0 0
nas:/b /srv/nas/deep nfs defaults 0 0
nas:/c /srv/with\040blank nfs defaults 0 0
nas:/d /srv/later nfs noauto,ro 0 0
/dev/x none swap sw 0 0
bad line
`
	const some = "22 1 0:21 / / rw - ext4 /dev/x rw\n23 22 0:22 / /srv/nas rw,relatime shared:1 - nfs nas:/a rw\n"
	for _, tt := range []struct{ path, mounted, want string }{
		{"/srv/nas/repository", some, ""},
		{"/srv/nas", "", "/srv/nas"},
		{"/srv/nas/repository", "", "/srv/nas"},
		{"/srv/nas2", "", ""},
		{"/srv/nas/deep/repository", some, "/srv/nas/deep"},
		{"/srv/with blank/r", some, "/srv/with blank"},
		{"/srv/with blank/r", `9 1 0:1 / /srv/with\040blank rw - nfs x rw`, ""},
		{"/srv/later/r", "", ""},
		{"/home/r", "", ""},
	} {
		if got := expectedMount(tt.path, fstab, tt.mounted); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
	}
}

// Any text of a file or a program is harmless.
func FuzzParsers(f *testing.F) {
	f.Add("nas:/a /srv/nas\\04 nfs defaults 0 0", "10100-10200", "7.2")
	f.Fuzz(func(t *testing.T, fstab, reserved, version string) {
		expectedMount("/srv/nas", fstab, fstab)
		exposed(nbd.PortRange{First: 1, Last: 9}, 1, 65535, reserved)
		parseVersion(version)
	})
}

func TestReport(t *testing.T) {
	about := one("check", "object")
	for _, tt := range []struct {
		findings []Finding
		want     Status
	}{
		{nil, OK},
		{append(about.ok("a"), about.skip("b", "c")...), OK},
		{append(about.ok("a"), about.warn("b", "c")...), Warning},
		{append(about.error("a", "b"), about.warn("b", "c")...), Error},
	} {
		if r := newReport("1", tt.findings); r.Status != tt.want {
			t.Errorf("%+v: %s, want %s", tt.findings, r.Status, tt.want)
		}
	}
	found := append(with(about.error("bad\x1b[31m\nnews", "do this"), "journal", "line 1\nline 2"), about.ok("well")...)
	for _, tt := range []struct {
		terminal, colour bool
		want             string
	}{
		{false, false, "error   check object: bad?[31m news\n    → do this\n    | line 1\n    | line 2\nok      check object: well\n\n1 error, 0 warnings\n"},
		{true, false, "✗ check object: bad?[31m news\n    → do this\n    | line 1\n    | line 2\n✓ check object: well\n\n1 error, 0 warnings\n"},
		{true, true, "\x1b[31m✗\x1b[0m check object: bad?[31m news\n    → do this\n    | line 1\n    | line 2\n\x1b[32m✓\x1b[0m check object: well\n\n1 error, 0 warnings\n"},
	} {
		var out bytes.Buffer
		if err := newReport("1", found).Print(&out, tt.terminal, tt.colour); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// What hangs is a finding, and does not delay the other checks.
func TestCheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := make(chan struct{})
		defer close(dead)
		found := runAll(t.Context(), []check{
			{name: "repository", object: "nas", look: func(context.Context) []Finding { <-dead; return nil }},
			{name: "slow", cleanup: time.Minute, look: func(ctx context.Context) []Finding {
				<-ctx.Done()
				time.Sleep(30 * time.Second)
				return one("slow", "").ok("cleaned up")
			}},
			{name: "config", look: func(context.Context) []Finding { return one("config", "").ok("fine") }},
		})
		var got []string
		for _, f := range found {
			got = append(got, fmt.Sprint(f.Check, " ", f.Status, " ", f.Message))
		}
		want := []string{"repository error does not answer within 30s", "slow ok cleaned up", "config ok fine"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConfinement(t *testing.T) {
	about := one("qemu-img", "/x")
	if got := confinement(about, nil); got != nil {
		t.Errorf("%+v", got)
	}
	got := confinement(about, errors.New("function not implemented"))
	if len(got) != 1 || got[0].Status != Warning || !strings.Contains(got[0].Message, "function not implemented") || got[0].Hint == "" {
		t.Errorf("%+v", got)
	}
}

// TestStuckRepository: a repository that does not answer is found out within the time of a request. The finding says since when, what is
// not answered, and what to do.
func TestStuckRepository(t *testing.T) {
	path := t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0) // a FUSE without its server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // then what hangs fails
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = unix.Close(fd)
	})
	if err := unix.Mount("hung", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	h := &host{config: &config.Config{}}
	began := time.Now()
	found := h.liveRepository(t.Context(), config.Repository{ID: "nas", Path: path})
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %s", took)
	}
	if len(found) != 1 || found[0].Status != Error || !strings.Contains(found[0].Message, "repository nas does not answer since ") ||
		!strings.Contains(found[0].Hint, "findmnt "+path) || !strings.Contains(found[0].Hint, "umount -f "+path) {
		t.Fatalf("%+v", found)
	}
	since, err := time.Parse(time.RFC3339, found[0].Facts["stuck_since"])
	if err != nil || since.Before(began.Add(-2*time.Second)) || found[0].Facts["stuck_operation"] == "" {
		t.Errorf("%+v", found[0].Facts)
	}
}
