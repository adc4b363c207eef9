package diagnosis_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestGenerator(t *testing.T) {
	const repository = "\n[[repository]]\nid = \"main\"\npath = "
	for name, test := range map[string]struct {
		config     string
		want, none []string // lines of the service's drop-in
	}{
		"nothing configured": {
			"", []string{`ReadWritePaths="-/var/lib/sendense-agent"`}, []string{"IPAddressAllow", "Sockets", "LoadCredential", "BindPaths"},
		},
		"repository":              {repository + `"/srv/backup"`, nil, []string{"/srv/backup"}}, // its own process writes there
		"state directory of home": {"[agent]\nstate_directory = \"/home/state\"", []string{`BindPaths="-/home/state"`}, []string{`"-/home/state"` + "\nReadWrite"}},
		"vcenter": {
			"[vcenter.main]\nhost = \"vc\"\nuser = \"u\"\npassword_credential = \"vcenter-main\"", []string{"LoadCredential=vcenter-main:/etc/credstore/vcenter-main"}, nil,
		},
		"keys": {
			repository + "\"/a\"\nencryption_key = \"new\"\nold_keys = [\"old\"]\n[[repository]]\nid = \"b\"\npath = \"/b\"\nencryption_key = \"new\"",
			[]string{"LoadCredential=new\nLoadCredential=old"},
			[]string{"SetCredential", "Encrypted", "new\nLoadCredential=new"},
		},
		"hooks": { // a credential of several, and one that a vCenter has already, is given once
			"[vcenter.main]\nhost = \"vc\"\nuser = \"u\"\npassword_credential = \"vcenter-main\"\n" +
				"[[hook]]\nid = \"a\"\nwhen = \"before_run\"\ncommand = [\"/bin/true\"]\ncredentials = [\"pg\", \"vcenter-main\"]\n" +
				"[[hook]]\nid = \"b\"\nwhen = \"after_run\"\ncommand = [\"/bin/true\"]\ncredentials = [\"pg\"]",
			[]string{"LoadCredential=pg", "LoadCredential=vcenter-main:/etc/credstore/vcenter-main"},
			[]string{"pg\nLoadCredential=pg", "LoadCredential=vcenter-main\n"},
		},
		"sna by address": {"[sna]\nurl = \"http://192.0.2.7:8081\"", []string{"IPAddressAllow=192.0.2.7"}, []string{"any"}},
		"sna by name":    {"[sna]\nurl = \"http://sna.example:8081\"", []string{"IPAddressAllow=any"}, nil},
		"sna over IPv6":  {"[sna]\nurl = \"http://[2001:db8::7]:8081\"", []string{"IPAddressAllow=2001:db8::7"}, nil},
		"metrics for all": {
			"[metrics]\nlisten = \":9185\"", []string{"IPAddressAllow=any"}, nil,
		},
		"metrics off": {"[metrics]\nlisten = \":9185\"\nenabled = false", nil, []string{"IPAddressAllow"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := hubtest.Generated(t, test.config)
			lines := strings.Split(files[hubtest.ServiceDropIn], "\n")
			for _, want := range test.want {
				if !strings.Contains("\n"+strings.Join(lines, "\n"), "\n"+want+"\n") {
					t.Errorf("no line %s in\n%s", want, files[hubtest.ServiceDropIn])
				}
			}
			for _, none := range test.none {
				if strings.Contains(files[hubtest.ServiceDropIn], none) {
					t.Errorf("%q in\n%s", none, files[hubtest.ServiceDropIn])
				}
			}
			if files[hubtest.HttpDropIn]+files[hubtest.HttpWanted] != "" {
				t.Errorf("the callbacks have a socket although they are off: %v", files)
			}
		})
	}
}

func TestGeneratorOfCallbacks(t *testing.T) {
	files := hubtest.Generated(t, "[http]\nenabled = true\nlisten = \"127.0.0.1:9999\"\n[agent]\nsocket = \"/run/other.sock\"\nsocket_group = \"adm\"")
	if !strings.Contains(files[hubtest.HttpDropIn], "[Socket]\nListenStream=\nListenStream=127.0.0.1:9999\n") {
		t.Errorf("socket of the callbacks: %q", files[hubtest.HttpDropIn])
	}
	if !strings.Contains(files[hubtest.ServiceDropIn], "\nSockets=sendense-agent-http.socket\n") {
		t.Errorf("the service does not take the socket: %q", files[hubtest.ServiceDropIn])
	}
	if files[hubtest.HttpWanted] != "/usr/lib/systemd/system/sendense-agent-http.socket" {
		t.Errorf("the socket is not wanted at boot: %v", files)
	}
	if rpc := files["sendense-agent.socket.d/50-configuration.conf"]; !strings.Contains(rpc, "ListenStream=/run/other.sock\nSocketGroup=adm\n") {
		t.Errorf("RPC socket: %q", rpc)
	}
}

// A key that systemd-creds(1) has encrypted is decrypted by systemd.
func TestGeneratorOfEncryptedKeys(t *testing.T) {
	hubtest.Must(t, os.MkdirAll("/etc/credstore.encrypted", 0o700))
	hubtest.Must(t, os.WriteFile("/etc/credstore.encrypted/sealed", nil, 0o600))
	t.Cleanup(func() { _ = os.Remove("/etc/credstore.encrypted/sealed") })
	text := hubtest.Generated(t, "[[repository]]\nid = \"a\"\npath = \"/a\"\nencryption_key = \"sealed\"\nold_keys = [\"open\"]")[hubtest.ServiceDropIn]
	if !strings.Contains(text, "\nLoadCredential=open\nLoadCredentialEncrypted=sealed\n") {
		t.Error(text)
	}
}

// A configuration that cannot be read changes nothing, and says why: systemd goes on without.
func TestGeneratorWithout(t *testing.T) {
	dir := t.TempDir()
	missing := exec.Command(hubtest.Program("sendense-agent"), "--config", filepath.Join(dir, "none"), "systemd-generator", dir)
	if out, err := missing.CombinedOutput(); err != nil {
		t.Errorf("no configuration: %v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	hubtest.Must(t, os.WriteFile(file, []byte("nonsense = 1"), 0o600))
	out, err := exec.Command(hubtest.Program("sendense-agent"), "--config", file, "systemd-generator", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nonsense") {
		t.Errorf("bad configuration: %v: %s", err, out)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("wrote %v", left)
	}
}

// systemd reads the path of the state directory back as it is, whatever it holds.
func TestGeneratorOddPaths(t *testing.T) {
	unit := "/run/systemd/system/odd.service"
	hubtest.Must(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
	hubtest.Must(t, os.MkdirAll(unit+".d", 0o755))
	for _, path := range []string{
		`/srv/with space`, `/srv/per%cent`, `/srv/quo"te`, `/srv/back\slash`, `/srv/'single`, `/srv/-dash`, `/srv/co:lon`, `/srv/ümlaut`,
	} {
		text := hubtest.Generated(t, "[agent]\nstate_directory = '''"+path+"'''\n")[hubtest.ServiceDropIn]
		hubtest.Must(t, os.WriteFile(unit+".d/50.conf", []byte(text), 0o644))
		if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.Command("busctl", "--json=short", "get-property", "org.freedesktop.systemd1",
			"/org/freedesktop/systemd1/unit/odd_2eservice", "org.freedesktop.systemd1.Service", "ReadWritePaths").Output()
		hubtest.Must(t, err)
		var got struct{ Data []string }
		hubtest.Must(t, json.Unmarshal(out, &got))
		if len(got.Data) != 1 || got.Data[0] != "-"+path {
			t.Errorf("got %q, want %q", got.Data, "-"+path)
		}
	}
}
