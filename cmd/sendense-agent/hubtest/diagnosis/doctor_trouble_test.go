package diagnosis_test

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

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// otherQemuNBD is the real qemu-nbd, with each argument changed by sed.
func otherQemuNBD(h *hubtest.Hub, sed string) string {
	h.Helper()
	dir, err := os.MkdirTemp("/usr/local/bin", "other-") // where an exporter's sandbox lets it be seen
	hubtest.Must(h.T, err)
	h.Cleanup(func() { hubtest.Must(h.T, os.RemoveAll(dir)) })
	hubtest.Must(h.T, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "qemu-nbd")
	hubtest.Must(h.T, os.WriteFile(path, []byte(`#!/bin/sh
n=$#; i=0
while [ $i -lt $n ]; do a=$1; shift; i=$((i+1)); set -- "$@" "$(printf %s "$a" | sed '`+sed+`')"; done
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	return path
}

// hostTroubles are what may be wrong with a host, each with what the doctor must find.
var hostTroubles = map[string]func(h *hubtest.Hub){
	"qemu-img missing": func(h *hubtest.Hub) {
		h = h.Changed("[http]", "[nbd]\nqemu_img = \"/opt/none/qemu-img\"\n[http]")
		r := h.Doctor()
		h.Finds(r, doctor.Error, "qemu-img", "/opt/none/qemu-img", "not found", "install qemu-utils")
		h.Finds(r, doctor.Error, "data-path", "main", "make an image")
	},
	"qemu-nbd is something else": func(h *hubtest.Hub) {
		r := h.Changed("[http]", "[nbd]\nqemu_nbd = \"/bin/false\"\n[http]").Doctor()
		h.Finds(r, doctor.Error, "qemu-nbd", "/bin/false", "cannot be run")
		h.Finds(r, doctor.Error, "data-path", "main", "start the unit pair", "exit status 1", "journal", "Failed with result")
	},
	"qemu-nbd that cannot refuse zeroes": func(h *hubtest.Hub) {
		without := otherQemuNBD(h, `s/"blkdebug"/"blkdebug-is-not-built"/g`) // asked for a driver that it does not have
		h = h.Changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", without))
		r := h.Doctor()
		h.Finds(r, doctor.Error, "features", without, "refusal of WRITE_ZEROES does not work", "Unknown driver", "sna.accept_write_zeroes")
		h.Finds(r, doctor.Error, "data-path", "main", "start the unit pair", "sna.accept_write_zeroes", "journal")
		h = h.Changed("[http]", "[sna]\naccept_write_zeroes = true\n[http]")
		r = h.Doctor()
		h.Finds(r, doctor.OK, "features", without, "throttle")
		h.Finds(r, doctor.OK, "data-path", "main")
	},
	"qemu-nbd that accepts zeroes": func(h *hubtest.Hub) {
		other := otherQemuNBD(h, `s/,"inject-error":[^]]*]//`)
		r := h.Changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", other)).Doctor()
		h.Finds(r, doctor.Error, "data-path", "main", "see zeroes refused", "WRITE_ZEROES is accepted", "nbd.qemu_nbd")
	},
	"qemu-nbd that keeps room for zeroes": func(h *hubtest.Hub) {
		other := otherQemuNBD(h, `s/"detect-zeroes":"unmap"/"detect-zeroes":"off"/`)
		r := h.Changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", other)).Doctor()
		h.Finds(r, doctor.Error, "data-path", "main", "write zeroes", "32 MiB of zeroes take", "install another qemu-utils")
	},
	"zeroes are accepted": func(h *hubtest.Hub) {
		r := h.Changed("[http]", "[sna]\naccept_write_zeroes = true\n[http]").Doctor()
		h.Finds(r, doctor.Warning, "write-zeroes", hubtest.SNAURL, "full backups lose data", "remove sna.accept_write_zeroes")
		h.Finds(r, doctor.OK, "data-path", "main", "written, flushed")
	},
	"exporter user missing": func(h *hubtest.Hub) {
		r := h.Changed("[agent]", "[agent]\nexporter_user = \"nobody-here\"").Doctor()
		h.Finds(r, doctor.Error, "exporter-user", "nobody-here", "unknown user", "systemd-sysusers")
		h.Finds(r, doctor.Skipped, "data-path", "main", "no exporter user")
	},
	"broken configuration": func(h *hubtest.Hub) {
		h = h.Changed("[http]", "[nbd]\nhostt = \"127.0.0.1\"\nshared = 1\n[http]")
		r := h.Doctor()
		h.Finds(r, doctor.Error, "config", h.Config, "did you mean nbd.host", "check-config")
		h.Finds(r, doctor.OK, "data-path", "main")
		h = h.Changed("[http]", "[http")
		h.Finds(h.Doctor(), doctor.Error, "config", h.Config, ":7:")
	},
	"repository gone": func(h *hubtest.Hub) {
		r := h.Changed(h.Dir+"/repository", h.Dir+"/nowhere").Doctor()
		h.Finds(r, doctor.Error, "repository", "main", h.Dir+"/nowhere does not exist", "mount it, make it")
	},
	"repository read-only": func(h *hubtest.Hub) {
		dir := tmpfs(h, 0o755, unix.MS_RDONLY, "")
		h.Finds(h.Changed(h.Dir+"/repository", dir).Doctor(), doctor.Error, "repository", "main", "read-only", "mount it writable")
	},
	"repository nearly full": func(h *hubtest.Hub) {
		dir := tmpfs(h, 0o755, 0, "size=80M")
		r := h.Changed(h.Dir+"/repository", dir).Doctor()
		h.Finds(r, doctor.Error, "space", "main", "space.reserve", "free space")
		h.Finds(r, doctor.OK, "data-path", "main")
	},
	"repository without O_DIRECT": func(h *hubtest.Hub) {
		dir := filepath.Join(h.Dir, "ramfs")
		hubtest.Must(h.T, os.Mkdir(dir, 0o755))
		hubtest.Must(h.T, unix.Mount("ramfs", dir, "ramfs", 0, ""))
		h.Cleanup(func() { hubtest.Must(h.T, unix.Unmount(dir, 0)) })
		r := h.Changed(h.Dir+"/repository", dir).Doctor()
		h.Finds(r, doctor.Warning, "io", "main", "O_DIRECT", "writeback", "ext4")
		h.Finds(r, doctor.OK, "data-path", "main", "cache=writeback")
	},
	"repository full": func(h *hubtest.Hub) {
		dir := tmpfs(h, 0o755, 0, "size=1M")
		hubtest.Must(h.T, os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600))
		r := h.Changed(h.Dir+"/repository", dir).Doctor()
		h.Finds(r, doctor.Error, "space", "main", "space.floor")
		h.Finds(r, doctor.Error, "io", "main", "no space left")
		h.Finds(r, doctor.Error, "data-path", "main")
	},
	"repository that the exporter user cannot reach": func(h *hubtest.Hub) {
		dir := filepath.Join(h.Dir, "closed")
		hubtest.Must(h.T, os.MkdirAll(filepath.Join(dir, "repository"), 0o755))
		hubtest.Must(h.T, os.Chmod(dir, 0o700))
		r := h.Changed(h.Dir+"/repository", dir+"/repository").Doctor()
		h.Finds(r, doctor.Error, "data-path", "main", "permission denied", "chmod o+x")
	},
	"not mounted": func(h *hubtest.Hub) {
		hubtest.Must(h.T, os.WriteFile("/etc/fstab", fmt.Appendf(nil, "server:/x %s/repository nfs defaults 0 0\n", h.Dir), 0o644))
		defer os.Remove("/etc/fstab")
		h.Finds(h.Doctor(), doctor.Error, "repository", "main", "is not mounted", "mount "+h.Dir)
	},
	"foreign listener": func(h *hubtest.Hub) {
		l, err := net.Listen("tcp", "127.0.0.1:10150")
		hubtest.Must(h.T, err)
		defer l.Close()
		h.Finds(h.Doctor(), doctor.Error, "ports", "10150", fmt.Sprintf("(pid %d)", os.Getpid()), "another process", "nbd.first_port")
	},
	"ports that the kernel gives away": func(h *hubtest.Hub) {
		r := h.Changed("[http]", "[nbd]\nfirst_port = 40000\nlast_port = 40009\n[http]").Doctor()
		h.Finds(r, doctor.Warning, "ports", "40000-40009", "10 of these", "ip_local_reserved_ports=40000-40009")
	},
	"metrics address held by another": func(h *hubtest.Hub) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		hubtest.Must(h.T, err)
		defer l.Close()
		r := h.Changed("[http]", fmt.Sprintf("[metrics]\nlisten = %q\n[http]", l.Addr())).Doctor()
		h.Finds(r, doctor.Error, "listeners", "metrics.listen", "another process", fmt.Sprintf("(pid %d)", os.Getpid()))
	},
	"state directory open to all": func(h *hubtest.Hub) {
		hubtest.Must(h.T, os.Chmod(h.Dir+"/state", 0o777))
		defer os.Chmod(h.Dir+"/state", 0o700)
		h.Finds(h.Doctor(), doctor.Error, "state-directory", h.Dir+"/state", "0777", "chmod 0700")
	},
	"database damaged": func(h *hubtest.Hub) {
		h = otherDatabase(h, func(path string) { hubtest.Must(h.T, os.WriteFile(path, make([]byte, 1<<16), 0o600)) })
		h.Finds(h.Doctor(), doctor.Error, "database", database(h), "damaged", "restart the daemon", "manifests")
	},
	"database locked by a stranger": func(h *hubtest.Hub) {
		var db *bolt.DB
		h = otherDatabase(h, func(path string) {
			var err error
			db, err = bolt.Open(path, 0o600, nil)
			hubtest.Must(h.T, err)
		})
		r := h.Doctor()
		hubtest.Must(h.T, db.Close())
		h.Finds(r, doctor.Error, "database", database(h), fmt.Sprintf("(pid %d)", os.Getpid()), "not the daemon", "end that process")
	},
	"database of a newer agent": func(h *hubtest.Hub) {
		h = otherDatabase(h, func(path string) {
			db, err := bolt.Open(path, 0o600, nil)
			hubtest.Must(h.T, err)
			hubtest.Must(h.T, db.Update(func(tx *bolt.Tx) error {
				meta, err := tx.CreateBucket([]byte("meta"))
				hubtest.Must(h.T, err)
				return meta.Put([]byte("schema"), []byte("999"))
			}))
			hubtest.Must(h.T, db.Close())
		})
		h.Finds(h.Doctor(), doctor.Error, "database", database(h), "schema version 999", "install the newer agent")
	},
	"restore point without its image": func(h *hubtest.Hub) {
		h.Steps(hubtest.Step(hubtest.Words("backup start pgtest1 --type full --wait"), 0, "completed", "completed"))
		images, err := filepath.Glob(h.Dir + "/repository/pgtest1/*/*.qcow2")
		hubtest.Must(h.T, err)
		hubtest.Must(h.T, os.Rename(images[0], images[0]+".away"))
		r := h.Doctor()
		hubtest.Must(h.T, os.Rename(images[0]+".away", images[0]))
		h.Finds(r, doctor.Error, "catalog", "main", "1 problem")
		h.Finds(r, doctor.Error, "catalog", filepath.Dir(images[0]), "is missing", "put back")
	},
	"bus away": func(h *hubtest.Hub) {
		h.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/none")
		r := h.Doctor()
		h.Finds(r, doctor.Error, "bus", "system", "/run/none", "systemctl status dbus")
		h.Finds(r, doctor.Skipped, "data-path", "main", "systemd does not answer")
		h.Finds(r, doctor.OK, "ports", "10100-10200")
	},
}

// TestDoctorTroubles: every trouble is found and named, and the hub is in good health when all are gone.
func TestDoctorTroubles(t *testing.T) {
	h := hubtest.HealthyHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	for name, trouble := range hostTroubles {
		t.Run(name, func(t *testing.T) {
			sub := *h
			sub.T = t
			trouble(&sub)
		})
	}
	if list := hubtest.Troubles(h.Doctor()); len(list) > 0 {
		t.Errorf("the troubles have gone, and the doctor finds: %q", list)
	}
	id := h.Held("pgtest1", "copy/0")
	h.Release("copy/0")
	h.Completes(id, sources)
}

// TestDoctorSNA tells apart the ways in which an SNA is not there.
func TestDoctorSNA(t *testing.T) {
	h := hubtest.HealthyHub(t)
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
		other := h.Changed("[http]", fmt.Sprintf("[sna]\nurl = %q\n[http]", server.URL))
		h.Finds(other.Doctor(), doctor.Error, "sna", server.URL, "trouble:"+trouble)
	}
	t.Cleanup(func() { close(hanging) }) // before the servers are closed
	h.Finds(h.Changed("[http]", "[sna]\nurl = \"http://127.0.0.1:1\"\n[http]").Doctor(), doctor.Error, "sna", "http://127.0.0.1:1",
		"trouble:tunnel_down", "the tunnel is down")
	h.SNA.End(syscall.SIGKILL)
	code, stdout, stderr := h.CTL("doctor")
	if code != 1 || !strings.Contains(stdout, "error   sna "+hubtest.SNAURL) || !strings.Contains(stdout, "tunnel is down") || stderr == "" {
		t.Errorf("sendensectl doctor: %d %s %s", code, stdout, stderr)
	}
	report, err := h.Dial().Doctor(t.Context())
	hubtest.Must(t, err)
	if report.Errors != 1 || len(report.Findings) < 8 {
		t.Errorf("%+v", report)
	}
}

// TestDoctorStopped: a doctor that is stopped in the midst of a trial cleans up, and one that is killed is cleaned up after.
func TestDoctorStopped(t *testing.T) {
	h := hubtest.HealthyHub(t)
	stuck := filepath.Join(h.Dir, "stuck")
	hubtest.Must(t, os.WriteFile(stuck, []byte("#!/bin/sh\n[ \"$1\" = --version ] && exec qemu-nbd --version\nexec sleep 1000\n"), 0o755))
	slow := h.Changed("[http]", fmt.Sprintf("[nbd]\nqemu_nbd = %q\n[http]", stuck))
	inTrial := func() *hubtest.Process {
		p := hubtest.Start(t, hubtest.Program("sendense-agent"), "doctor", "--config", slow.Config)
		h.Eventually("the trial runs", func() bool {
			if code, exited := p.Exited(0); exited {
				t.Fatalf("the doctor ended without one: %d\n%s%s", code, p.Stdout(), p.Stderr())
			}
			out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-doctor-*.service").Output()
			hubtest.Must(t, err)
			return strings.Contains(string(out), "sendense-doctor-") // on a busy machine its job may wait: then it is not activating yet
		})
		return p
	}
	if p := inTrial(); p.End(syscall.SIGINT) != 1 || !strings.Contains(p.Stderr(), "interrupted") {
		t.Errorf("stopped: %s", p.Stderr())
	}
	h.NothingLeft()
	inTrial().End(syscall.SIGKILL)
	if list := hubtest.Troubles(h.Doctor()); len(list) > 0 { // it looks for what is left
		t.Errorf("after one that was killed: %q", list)
	}
}

// TestDoctorAsUser: whoever runs it is told what he could not see, and what he can see is in order.
func TestDoctorAsUser(t *testing.T) {
	h := hubtest.HealthyHub(t)
	hubtest.Must(t, os.Chmod(h.Dir, 0o755))
	// A user whom the bus knows; it turns away numbers without a name.
	r := h.DoctorAs(&syscall.Credential{Uid: 65534, Gid: 65534}, hubtest.SharedCopy(t, "sendense-agent"))
	if list := hubtest.Troubles(r); len(list) > 0 {
		t.Errorf("%q", list)
	}
	h.Finds(r, doctor.Skipped, "daemon", "/run/sendense-agent/agent.sock", "may not use the socket", "group sendense")
	h.Finds(r, doctor.Skipped, "data-path", "main", "only root")
	h.Finds(r, doctor.Skipped, "repository", "main", "root")
	h.Finds(r, doctor.OK, "sna", hubtest.SNAURL, "healthy")
	h.Finds(r, doctor.OK, "features", "/usr/bin/qemu-nbd", "throttle")
}

func database(h *hubtest.Hub) string { return filepath.Join(h.Dir, "other", "agent.db") }

// otherDatabase has the doctor look at a database that is not the daemon's.
func otherDatabase(h *hubtest.Hub, fill func(path string)) *hubtest.Hub {
	h.Helper()
	hubtest.Must(h.T, os.RemoveAll(h.Dir+"/other"))
	hubtest.Must(h.T, os.Mkdir(h.Dir+"/other", 0o700))
	fill(database(h))
	return h.Changed(h.Dir+"/state", h.Dir+"/other")
}

// tmpfs mounts a file system in memory for the length of a test.
func tmpfs(h *hubtest.Hub, mode os.FileMode, flags uintptr, options string) string {
	h.Helper()
	dir := filepath.Join(h.Dir, "tmpfs-"+strconv.Itoa(int(flags))+options)
	hubtest.Must(h.T, os.Mkdir(dir, mode))
	hubtest.Must(h.T, unix.Mount("tmpfs", dir, "tmpfs", flags, options))
	h.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			h.Error(err)
		}
	})
	return dir
}
