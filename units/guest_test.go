package units

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// attempts are what a program that has escaped from the virtual machine would try. Each must fail; "=" marks one that must succeed.
var attempts = []struct{ what, command string }{
	{"=write its scratch space", `echo x >/var/tmp/x`},
	{"=read the kernel's modules", `ls /lib/modules`},
	{"=open a socket of its own", `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "/tmp/s", Listen => 1) or die'`},
	{"=reach the loopback, on which NBD is served", `(exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -q refused`},
	{"fill more than its scratch space", `head -c 80M /dev/zero >/var/tmp/large; size=$(stat -c %s /var/tmp/large); rm /var/tmp/large; test "$size" = 83886080`},
	{"speak another protocol", `perl -MSocket -e 'socket(S, 16, 3, 0) or die'`},
	{"look into a repository", `ls "$REPOSITORY/vm"`},
	{"write the host's files", `echo x >/etc/x || echo x >/var/lib/x || echo x >/run/x || echo x >"$REPOSITORY/x"`},
	{"speak to systemd", `busctl --timeout=5 list`},
	{"find what listens in /run", `test -e /run/dbus -o -e /run/systemd/private -o -e /run/sendense-agent`},
	{"see the processes of others", `test -e /proc/1/comm`},
	{"signal an exporter", `kill -0 "$EXPORTER"`},
	{"load a module", `perl -e 'my $none = ""; exit(syscall(175, 0, 0, $none) == -1 && $! == 1)'`}, // init_module: EPERM
	{"mount", `mount -t tmpfs none /tmp`},
	{"make a namespace", `unshare --user true || unshare --net true`},
	{"become another user", `setpriv --reuid=0 true`},
	{"open a device", `head -c 1 /dev/vda || head -c 1 /dev/mem || head -c 1 /dev/loop-control`},
	{"keep capabilities", `grep -q '^CapBnd:.*[1-9a-f]' /proc/self/status`},
	{"gain privileges by a set-uid program", `grep -q '^NoNewPrivs:.*0$' /proc/self/status`},
	{"make a set-uid program", `cp /bin/true /var/tmp/true && chmod 4755 /var/tmp/true`},
}

// guestMain reports that it serves, as a main process must, and then runs the attempts.
const guestMain = `use IO::Socket::UNIX;
IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send("READY=1") or die;
system("/bin/bash", "-c", $ARGV[0]); sleep 1000;`

// TestGuest: a program that escapes from the virtual machine can do almost nothing. The socket is for a group, and is removed with the pair.
func TestGuest(t *testing.T) {
	m := open(t)
	repository := systemdtest.DiskDir(t)
	run(t, "install", "-d", "-m", "777", filepath.Join(repository, "vm"))
	exporter := shell(t, m, "sleep 1000")
	exporter.User, exporter.Group = "sendense-nbd", "sendense-nbd"
	victim := mustStart(t, m, exporter)
	var script strings.Builder
	fmt.Fprintf(&script, "export REPOSITORY=%q EXPORTER=%d\n", repository, victim.MainPID)
	for i, a := range attempts {
		fmt.Fprintf(&script, "( %s ) >>/var/tmp/output 2>&1; echo \"%d $?\" >>/var/tmp/results\n", a.command, i)
	}
	script.WriteString("mv /var/tmp/results /var/tmp/done\n")
	listen := filepath.Join(t.TempDir(), "files.sock")
	s := pair.Spec{
		Name: newName(t, m), Argv: []string{"/usr/bin/perl", "-e", guestMain, script.String()},
		ListenAddress: listen, ListenGroup: "sendense", User: "sendense-files", HiddenDirs: []string{repository},
		Guest: &pair.Guest{MemoryBytes: 1 << 30, ScratchBytes: 64 << 20, Tasks: 64, Lifetime: time.Hour},
	}
	u := mustStart(t, m, s)
	if got := strings.TrimSpace(run(t, "stat", "-c", "%a %U %G %F", listen)); got != "660 root sendense socket" {
		t.Errorf("its socket is %s", got)
	}
	scratch := fmt.Sprintf("/proc/%d/root/var/tmp/", u.MainPID)
	var results []byte
	eventually(t, "everything is tried", func() bool {
		var err error
		results, err = os.ReadFile(scratch + "done")
		return err == nil
	})
	output, _ := os.ReadFile(scratch + "output")
	codes := strings.Split(strings.TrimSpace(string(results)), "\n")
	if len(codes) != len(attempts) {
		t.Fatalf("%d results: %s", len(codes), output)
	}
	for i, a := range attempts {
		what, must := strings.CutPrefix(a.what, "=")
		if succeeded := codes[i] == fmt.Sprint(i, " 0"); succeeded != must {
			t.Errorf("%s: succeeded: %v\n%s", what, succeeded, output)
		}
	}
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(listen); !os.IsNotExist(err) {
		t.Errorf("its socket is left: %v", err)
	}
}
