package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/doctor"
)

// changed has the doctor look through a configuration in which something is different; the daemon keeps its own.
func (h *hub) changed(old, changed string) *hub {
	h.Helper()
	text, err := os.ReadFile(h.config)
	must(h.T, err)
	if !strings.Contains(string(text), old) {
		h.Fatalf("%q is not in the configuration", old)
	}
	other := *h
	other.config = filepath.Join(h.TempDir(), "config.toml")
	must(h.T, os.WriteFile(other.config, []byte(strings.Replace(string(text), old, changed, 1)), 0o644))
	return &other
}

// otherQemuNBD is the real qemu-nbd, with each argument changed by sed.
func (h *hub) otherQemuNBD(sed string) string {
	h.Helper()
	dir, err := os.MkdirTemp("/usr/local/bin", "other-") // where an exporter's sandbox lets it be seen
	must(h.T, err)
	h.Cleanup(func() { must(h.T, os.RemoveAll(dir)) })
	must(h.T, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "qemu-nbd")
	must(h.T, os.WriteFile(path, []byte(`#!/bin/sh
n=$#; i=0
while [ $i -lt $n ]; do a=$1; shift; i=$((i+1)); set -- "$@" "$(printf %s "$a" | sed '`+sed+`')"; done
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	return path
}

// hostTroubles are what may be wrong with a host, each with what the doctor must find.
var hostTroubles = map[string]func(h *hub){
	"qemu-img missing": func(h *hub) {
		h = h.changed("[http]", "[nbd]\nqemu_img = \"/opt/none/qemu-img\"\n[http]")
		r := h.doctor()
		h.finds(r, doctor.Error, "qemu-img", "/opt/none/qemu-img", "not found", "install qemu-utils")
		h.finds(r, doctor.Error, "data-path", "main", "make an image")
	},
	"qemu-nbd is something else": func(h *hub) {
		r := h.changed("[http]", "[nbd]\nqemu_nbd = \"/bin/false\"\n[http]").doctor()
		h.finds(r, doctor.Error, "qemu-nbd", "/bin/false", "cannot be run")
		h.finds(r, doctor.Error, "data-path", "main", "start the unit pair", "exit status 1", "journal", "Failed with result")
	},
	"qemu-nbd that cannot refuse zeroes": func(h *hub) {
		without := h.otherQemuNBD(`s/"blkdebug"/"blkdebug-is-not-built"/g`) // asked for a driver that it does not have
		h = h.changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", without))
		r := h.doctor()
		h.finds(r, doctor.Error, "features", without, "refusal of WRITE_ZEROES does not work", "Unknown driver", "sna.accept_write_zeroes")
		h.finds(r, doctor.Error, "data-path", "main", "start the unit pair", "sna.accept_write_zeroes", "journal")
		h = h.changed("[http]", "[sna]\naccept_write_zeroes = true\n[http]")
		r = h.doctor()
		h.finds(r, doctor.OK, "features", without, "throttle")
		h.finds(r, doctor.OK, "data-path", "main")
	},
	"qemu-nbd that accepts zeroes": func(h *hub) {
		other := h.otherQemuNBD(`s/,"inject-error":[^]]*]//`)
		r := h.changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", other)).doctor()
		h.finds(r, doctor.Error, "data-path", "main", "see zeroes refused", "WRITE_ZEROES is accepted", "nbd.qemu_nbd")
	},
	"qemu-nbd that keeps room for zeroes": func(h *hub) {
		other := h.otherQemuNBD(`s/"detect-zeroes":"unmap"/"detect-zeroes":"off"/`)
		r := h.changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", other)).doctor()
		h.finds(r, doctor.Error, "data-path", "main", "write zeroes", "32 MiB of zeroes take", "install another qemu-utils")
	},
	"zeroes are accepted": func(h *hub) {
		r := h.changed("[http]", "[sna]\naccept_write_zeroes = true\n[http]").doctor()
		h.finds(r, doctor.Warning, "write-zeroes", snaURL, "full backups lose data", "remove sna.accept_write_zeroes")
		h.finds(r, doctor.OK, "data-path", "main", "written, flushed")
	},
	"exporter user missing": func(h *hub) {
		r := h.changed("[agent]", "[agent]\nexporter_user = \"nobody-here\"").doctor()
		h.finds(r, doctor.Error, "exporter-user", "nobody-here", "unknown user", "systemd-sysusers")
		h.finds(r, doctor.Skipped, "data-path", "main", "no exporter user")
	},
	"broken configuration": func(h *hub) {
		h = h.changed("[http]", "[nbd]\nhostt = \"127.0.0.1\"\nshared = 1\n[http]")
		r := h.doctor()
		h.finds(r, doctor.Error, "config", h.config, "did you mean nbd.host", "check-config")
		h.finds(r, doctor.OK, "data-path", "main")
		h = h.changed("[http]", "[http")
		h.finds(h.doctor(), doctor.Error, "config", h.config, ":7:")
	},
	"repository gone": func(h *hub) {
		r := h.changed(h.dir+"/repository", h.dir+"/nowhere").doctor()
		h.finds(r, doctor.Error, "repository", "main", h.dir+"/nowhere does not exist", "mount it, make it")
	},
	"repository read-only": func(h *hub) {
		dir := tmpfs(h, 0o755, unix.MS_RDONLY, "")
		h.finds(h.changed(h.dir+"/repository", dir).doctor(), doctor.Error, "repository", "main", "read-only", "mount it writable")
	},
	"repository nearly full": func(h *hub) {
		dir := tmpfs(h, 0o755, 0, "size=80M")
		r := h.changed(h.dir+"/repository", dir).doctor()
		h.finds(r, doctor.Error, "space", "main", "space.reserve", "free space")
		h.finds(r, doctor.OK, "data-path", "main")
	},
	"repository without O_DIRECT": func(h *hub) {
		dir := filepath.Join(h.dir, "ramfs")
		must(h.T, os.Mkdir(dir, 0o755))
		must(h.T, unix.Mount("ramfs", dir, "ramfs", 0, ""))
		h.Cleanup(func() { must(h.T, unix.Unmount(dir, 0)) })
		r := h.changed(h.dir+"/repository", dir).doctor()
		h.finds(r, doctor.Warning, "io", "main", "O_DIRECT", "writeback", "ext4")
		h.finds(r, doctor.OK, "data-path", "main", "cache=writeback")
	},
	"repository full": func(h *hub) {
		dir := tmpfs(h, 0o755, 0, "size=1M")
		must(h.T, os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600))
		r := h.changed(h.dir+"/repository", dir).doctor()
		h.finds(r, doctor.Error, "space", "main", "space.floor")
		h.finds(r, doctor.Error, "io", "main", "no space left")
		h.finds(r, doctor.Error, "data-path", "main")
	},
	"repository that the exporter user cannot reach": func(h *hub) {
		dir := filepath.Join(h.dir, "closed")
		must(h.T, os.MkdirAll(filepath.Join(dir, "repository"), 0o755))
		must(h.T, os.Chmod(dir, 0o700))
		r := h.changed(h.dir+"/repository", dir+"/repository").doctor()
		h.finds(r, doctor.Error, "data-path", "main", "permission denied", "chmod o+x")
	},
	"not mounted": func(h *hub) {
		must(h.T, os.WriteFile("/etc/fstab", fmt.Appendf(nil, "server:/x %s/repository nfs defaults 0 0\n", h.dir), 0o644))
		defer os.Remove("/etc/fstab")
		h.finds(h.doctor(), doctor.Error, "repository", "main", "is not mounted", "mount "+h.dir)
	},
	"foreign listener": func(h *hub) {
		l, err := net.Listen("tcp", "127.0.0.1:10150")
		must(h.T, err)
		defer l.Close()
		h.finds(h.doctor(), doctor.Error, "ports", "10150", fmt.Sprintf("(pid %d)", os.Getpid()), "another process", "nbd.first_port")
	},
	"ports that the kernel gives away": func(h *hub) {
		r := h.changed("[http]", "[nbd]\nfirst_port = 40000\nlast_port = 40009\n[http]").doctor()
		h.finds(r, doctor.Warning, "ports", "40000-40009", "10 of these", "ip_local_reserved_ports=40000-40009")
	},
	"metrics address held by another": func(h *hub) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(h.T, err)
		defer l.Close()
		r := h.changed("[http]", fmt.Sprintf("[metrics]\nlisten = %q\n[http]", l.Addr())).doctor()
		h.finds(r, doctor.Error, "listeners", "metrics.listen", "another process", fmt.Sprintf("(pid %d)", os.Getpid()))
	},
	"state directory open to all": func(h *hub) {
		must(h.T, os.Chmod(h.dir+"/state", 0o777))
		defer os.Chmod(h.dir+"/state", 0o700)
		h.finds(h.doctor(), doctor.Error, "state-directory", h.dir+"/state", "0777", "chmod 0700")
	},
	"database damaged": func(h *hub) {
		h = h.otherDatabase(func(path string) { must(h.T, os.WriteFile(path, make([]byte, 1<<16), 0o600)) })
		h.finds(h.doctor(), doctor.Error, "database", h.database(), "damaged", "restart the daemon", "manifests")
	},
	"database locked by a stranger": func(h *hub) {
		var db *bolt.DB
		h = h.otherDatabase(func(path string) {
			var err error
			db, err = bolt.Open(path, 0o600, nil)
			must(h.T, err)
		})
		r := h.doctor()
		must(h.T, db.Close())
		h.finds(r, doctor.Error, "database", h.database(), fmt.Sprintf("(pid %d)", os.Getpid()), "not the daemon", "end that process")
	},
	"database of a newer agent": func(h *hub) {
		h = h.otherDatabase(func(path string) {
			db, err := bolt.Open(path, 0o600, nil)
			must(h.T, err)
			must(h.T, db.Update(func(tx *bolt.Tx) error {
				meta, err := tx.CreateBucket([]byte("meta"))
				must(h.T, err)
				return meta.Put([]byte("schema"), []byte("999"))
			}))
			must(h.T, db.Close())
		})
		h.finds(h.doctor(), doctor.Error, "database", h.database(), "schema version 999", "install the newer agent")
	},
	"restore point without its image": func(h *hub) {
		h.steps(step{words("backup start pgtest1 --type full --wait"), 0, "completed", "completed"})
		images, err := filepath.Glob(h.dir + "/repository/pgtest1/*/*.qcow2")
		must(h.T, err)
		must(h.T, os.Rename(images[0], images[0]+".away"))
		r := h.doctor()
		must(h.T, os.Rename(images[0]+".away", images[0]))
		h.finds(r, doctor.Error, "catalog", "main", "1 problem")
		h.finds(r, doctor.Error, "catalog", filepath.Dir(images[0]), "is missing", "put back")
	},
	"bus away": func(h *hub) {
		h.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/none")
		r := h.doctor()
		h.finds(r, doctor.Error, "bus", "system", "/run/none", "systemctl status dbus")
		h.finds(r, doctor.Skipped, "data-path", "main", "systemd does not answer")
		h.finds(r, doctor.OK, "ports", "10100-10200")
	},
}

// TestDoctorTroubles: every trouble is found and named, and the hub is in good health when all are gone.
func TestDoctorTroubles(t *testing.T) {
	h := healthyHub(t)
	sources := h.addVM("pgtest1", diskSize)
	for name, trouble := range hostTroubles {
		t.Run(name, func(t *testing.T) {
			sub := *h
			sub.T = t
			trouble(&sub)
		})
	}
	if list := troubles(h.doctor()); len(list) > 0 {
		t.Errorf("the troubles have gone, and the doctor finds: %q", list)
	}
	id := h.held("pgtest1", "copy/0")
	h.release("copy/0")
	h.completes(id, sources)
}

// TestDoctorSNA tells apart the ways in which an SNA is not there.
func TestDoctorSNA(t *testing.T) {
	h := healthyHub(t)
	hanging := make(chan struct{})
	answers := map[string]http.HandlerFunc{
		"server_error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no licence", http.StatusInternalServerError)
		},
		"refused":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "what?", http.StatusNotFound) },
		"odd_answer": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"timeout":    func(http.ResponseWriter, *http.Request) { <-hanging },
		"broken_off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for trouble, answer := range answers {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		other := h.changed("[http]", fmt.Sprintf("[sna]\nurl = %q\n[http]", server.URL))
		h.finds(other.doctor(), doctor.Error, "sna", server.URL, "trouble:"+trouble)
	}
	t.Cleanup(func() { close(hanging) }) // before the servers are closed
	h.finds(h.changed("[http]", "[sna]\nurl = \"http://127.0.0.1:1\"\n[http]").doctor(), doctor.Error, "sna", "http://127.0.0.1:1",
		"trouble:tunnel_down", "the tunnel is down")
	h.sna.end(syscall.SIGKILL)
	code, stdout, stderr := h.ctl("doctor")
	if code != 1 || !strings.Contains(stdout, "error   sna "+snaURL) || !strings.Contains(stdout, "tunnel is down") || stderr == "" {
		t.Errorf("sendensectl doctor: %d %s %s", code, stdout, stderr)
	}
	report, err := h.dial().Doctor(t.Context())
	must(t, err)
	if report.Errors != 1 || len(report.Findings) < 8 {
		t.Errorf("%+v", report)
	}
}

// TestDoctorStopped: a doctor that is stopped in the midst of a trial cleans up, and one that is killed is cleaned up after.
func TestDoctorStopped(t *testing.T) {
	h := healthyHub(t)
	stuck := filepath.Join(h.dir, "stuck")
	must(t, os.WriteFile(stuck, []byte("#!/bin/sh\n[ \"$1\" = --version ] && exec qemu-nbd --version\nexec sleep 1000\n"), 0o755))
	slow := h.changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", stuck))
	inTrial := func() *process {
		p := start(t, program("sendense-agent"), "doctor", "--config", slow.config)
		h.eventually("the trial runs", func() bool {
			if code, exited := p.exited(0); exited {
				t.Fatalf("the doctor ended without one: %d\n%s%s", code, p.stdout(), p.stderr())
			}
			out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-doctor-*.service").Output()
			must(t, err)
			return strings.Contains(string(out), "activating")
		})
		return p
	}
	if p := inTrial(); p.end(syscall.SIGINT) != 1 || !strings.Contains(p.stderr(), "interrupted") {
		t.Errorf("stopped: %s", p.stderr())
	}
	h.nothingLeft()
	inTrial().end(syscall.SIGKILL)
	if list := troubles(h.doctor()); len(list) > 0 { // it looks for what is left
		t.Errorf("after one that was killed: %q", list)
	}
}

// TestDoctorAsUser: whoever runs it is told what he could not see, and what he can see is in order.
func TestDoctorAsUser(t *testing.T) {
	h := healthyHub(t)
	must(t, os.Chmod(h.dir, 0o755))
	// A user whom the bus knows; it turns away numbers without a name.
	r := h.doctorAs(&syscall.Credential{Uid: 65534, Gid: 65534}, sharedCopy(t, "sendense-agent"))
	if list := troubles(r); len(list) > 0 {
		t.Errorf("%q", list)
	}
	h.finds(r, doctor.Skipped, "daemon", "/run/sendense-agent/agent.sock", "may not use the socket", "group sendense")
	h.finds(r, doctor.Skipped, "data-path", "main", "only root")
	h.finds(r, doctor.Skipped, "repository", "main", "root")
	h.finds(r, doctor.OK, "sna", snaURL, "healthy")
	h.finds(r, doctor.OK, "features", "/usr/bin/qemu-nbd", "throttle")
}

func (h *hub) database() string { return filepath.Join(h.dir, "other", "agent.db") }

// otherDatabase has the doctor look at a database that is not the daemon's.
func (h *hub) otherDatabase(fill func(path string)) *hub {
	h.Helper()
	must(h.T, os.RemoveAll(h.dir+"/other"))
	must(h.T, os.Mkdir(h.dir+"/other", 0o700))
	fill(h.database())
	return h.changed(h.dir+"/state", h.dir+"/other")
}

// tmpfs mounts a file system in memory for the length of a test.
func tmpfs(h *hub, mode os.FileMode, flags uintptr, options string) string {
	h.Helper()
	dir := filepath.Join(h.dir, "tmpfs-"+strconv.Itoa(int(flags))+options)
	must(h.T, os.Mkdir(dir, mode))
	must(h.T, unix.Mount("tmpfs", dir, "tmpfs", flags, options))
	h.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			h.Error(err)
		}
	})
	return dir
}
