package monitoring_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestMetricsReference brings the daemon to where it shows every metric it has, and compares that with the reference,
// both ways.
func TestMetricsReference(t *testing.T) {
	h := hubtest.New(t, fmt.Sprintf("[prune]\nat = %q", time.Now().Add(12*time.Hour).Format("15:04")), `
[[group]]
id = "all"
vms = ["second", "empty"]
[[schedule]]
id = "nightly"
groups = ["all"]
calendar = "2199-01-01"`)
	expired := h.AddVM("expired", hubtest.DiskSize)
	id := h.Held("expired", "copy/0")
	h.Release("copy/0")
	h.Completes(id, expired)
	holdPrune(h, "expired")
	_, err := h.Dial().PutVM(t.Context(), rpc.VM{VMName: "empty"})
	hubtest.Must(t, err)
	if code, _, stderr := h.CTL("schedule", "run", "nightly", "--wait"); code != 1 || !strings.Contains(stderr, "1 failed") {
		t.Errorf("%d %s", code, stderr)
	}
	first, second := h.AddVM("first", hubtest.DiskSize), h.AddVM("second", hubtest.DiskSize)
	id = h.Held("first", "copy/0")
	h.Release("copy/0")
	h.Completes(id, first)
	restore, err := h.Dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	hubtest.Must(t, err)
	h.Hold("copy/0")
	defer h.Release("copy/0")
	run, err := h.Dial().RunSchedule(t.Context(), "nightly")
	hubtest.Must(t, err)
	h.Eventually("the run copies a VM", func() bool {
		r, err := h.Dial().GetRun(t.Context(), run.RunID)
		hubtest.Must(t, err)
		list, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{VMName: "second", State: rpc.Running})
		hubtest.Must(t, err)
		for _, b := range list.Backups {
			id = b.BackupID
		}
		return len(list.Backups) == 1 && len(r.VMs) == 2
	})
	_ = h.Dial().Call(t.Context(), "no.such.method", nil, nil)

	code, text := hubtest.Fetch(t, "/metrics")
	_, err = h.Dial().StopRestore(t.Context(), restore.RestoreID)
	hubtest.Must(t, err)
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	shown := shownMetrics(text)
	maps.DeleteFunc(shown, func(name, _ string) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})
	if diff := cmp.Diff(documentedMetrics(t), shown); diff != "" {
		t.Errorf("docs/metrics.md (-) and the daemon (+) differ:\n%s", diff)
	}
	for _, want := range []string{
		"\ngo_goroutines ", "\nprocess_start_time_seconds ",
		`sendense_agent_rpc_requests_total{code="-32601",method="unknown"} 1`,
		`sendense_agent_rpc_requests_total{code="0",method="backup.start"} 1`,
		`sendense_agent_rpc_request_duration_seconds_count{method="vm.put"} 3`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	hubtest.Must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, page := range []string{"/healthz", "/readyz"} {
		if code, text := hubtest.Fetch(t, page); code != http.StatusOK {
			t.Errorf("%s: %d %s", page, code, text)
		}
	}
	h.Release("copy/0")
	h.Completes(id, second)
}

var (
	typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	label    = regexp.MustCompile(`([a-z_]+)="`)
	docRow   = regexp.MustCompile("(?m)^\\| `(sendense_\\w+)` \\| (\\w+) \\| ([^|]*)\\| \\S")
	docLabel = regexp.MustCompile("`([a-z_]+)`")
)

// holdPrune has the daemon find, when it starts again, that a daily run was held.
func holdPrune(h *hubtest.Hub, vm string) {
	h.Helper()
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		h.Fatalf("the daemon exited with code %d", code)
	}
	db, err := store.Open(filepath.Join(h.Dir, "state", "agent.db"), store.Options{MustExist: true})
	hubtest.Must(h.T, err)
	hubtest.Must(h.T, db.HoldPrune(store.Hold{PointGroup: store.PointGroup{Repository: "main", VM: vm}, Removed: 4, Points: 5, Since: time.Now()}))
	hubtest.Must(h.T, db.Close())
	h.Boot()
}

// shownMetrics gives type and labels of every metric of a scrape, by name.
func shownMetrics(text string) map[string]string {
	metrics := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		sample := regexp.MustCompile(`(?m)^` + m[1] + `(?:_bucket)?(?:\{.*\})? `).FindString(text)
		metrics[m[1]] = describeMetric(m[2], label.FindAllStringSubmatch(sample, -1))
	}
	return metrics
}

// documentedMetrics is the same as the reference has it.
func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/metrics.md")
	hubtest.Must(t, err)
	metrics := map[string]string{}
	for _, m := range docRow.FindAllStringSubmatch(string(text), -1) {
		if _, twice := metrics[m[1]]; twice {
			t.Errorf("docs/metrics.md lists %s twice", m[1])
		}
		metrics[m[1]] = describeMetric(m[2], docLabel.FindAllStringSubmatch(m[3], -1))
	}
	return metrics
}

func describeMetric(kind string, labels [][]string) string {
	var names []string
	for _, l := range labels {
		if l[1] != "le" {
			names = append(names, l[1])
		}
	}
	slices.Sort(names)
	return kind + " " + strings.Join(names, " ")
}

// TestMetricsPortIsTaken: the daemon does not start without what was asked of it, and says which key is about it.
func TestMetricsPortIsTaken(t *testing.T) {
	h := hubtest.New(t, "[metrics]", "enabled = false")
	h.End()
	l, err := net.Listen("tcp", hubtest.MetricsAddress)
	hubtest.Must(t, err)
	defer l.Close()
	rewrite(h, "enabled = false", "enabled = true")
	refuses(h, "metrics.listen: listen tcp 127.0.0.1:9185: bind: address already in use")
}

// refuses expects that the daemon does not start, and why.
func refuses(h *hubtest.Hub, words string) {
	h.Helper()
	d := hubtest.Start(h.T, hubtest.Program("sendense-agent"), "--config", h.Config)
	if code, exited := d.Exited(hubtest.Patience); !exited || code != 1 || !strings.Contains(d.Stderr(), words) {
		h.Errorf("exited %v with code %d, want the words %q:\n%s", exited, code, words, d.Stderr())
	}
}

// rewrite changes the configuration.
func rewrite(h *hubtest.Hub, from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.Config)
	hubtest.Must(h.T, err)
	i := strings.LastIndex(string(text), from)
	hubtest.Must(h.T, os.WriteFile(h.Config, []byte(string(text[:i])+to+string(text[i+len(from):])), 0o644))
}

func TestMetricsOff(t *testing.T) {
	hubtest.New(t, "[metrics]", "enabled = false")
	if c, err := net.Dial("tcp", hubtest.MetricsAddress); err == nil {
		c.Close()
		t.Error("something listens although metrics are off")
	}
}

// TestMetricsWithTLS: the web configuration file of the Prometheus exporters holds for every page, and one that is wrong
// is refused at the start.
func TestMetricsWithTLS(t *testing.T) {
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	web := filepath.Join(dir, "web.yml")
	hubtest.Must(t, os.WriteFile(web, fmt.Appendf(nil, `tls_server_config: {cert_file: %[1]s/cert.pem, key_file: %[1]s/key.pem}
basic_auth_users:
  prometheus: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay # test
`, dir), 0o600))
	h := hubtest.New(t, "[metrics]", fmt.Sprintf("web_config_file = %q", web))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for password, want := range map[string]int{"test": http.StatusOK, "wrong": http.StatusUnauthorized} {
		for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+hubtest.MetricsAddress+page, nil)
			hubtest.Must(t, err)
			req.SetBasicAuth("prometheus", password)
			resp, err := client.Do(req)
			hubtest.Must(t, err)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s with the password %q: %s", page, password, resp.Status)
			}
		}
	}
	if resp, err := http.Get("http://" + hubtest.MetricsAddress + "/metrics"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("the metrics are there without TLS")
		}
	}
	h.End()
	hubtest.Must(t, os.WriteFile(web, []byte("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.pem}\n"), 0o600))
	refuses(h, "metrics.web_config_file: ")
}

// writeCertificate makes a certificate for the metrics' address and returns the pool that trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	hubtest.Must(t, err)
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, certificate, certificate, key.Public(), key)
	hubtest.Must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	hubtest.Must(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	hubtest.Must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600))
	hubtest.Must(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots
}
