package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
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
	"github.com/sendense/backup-agent/rpc"
)

const metricsAddress = "127.0.0.1:9185"

// fetch returns the status and the text of a page of the metrics' listener.
func fetch(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + metricsAddress + path)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

// TestMetricsReference brings the daemon to where it shows every metric it has, and compares that with the reference,
// both ways.
func TestMetricsReference(t *testing.T) {
	h := newHub(t, fmt.Sprintf("[prune]\nat = %q", time.Now().Add(12*time.Hour).Format("15:04")))
	expired := h.addVM("expired", diskSize)
	id := h.held("expired", "copy/0")
	h.release("copy/0")
	h.completes(id, expired)
	h.holdPrune("expired")
	first, second := h.addVM("first", diskSize), h.addVM("second", diskSize)
	id = h.held("first", "copy/0")
	h.release("copy/0")
	h.completes(id, first)
	restore, err := h.dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	must(t, err)
	id = h.held("second", "copy/0")
	_ = h.dial().Call(t.Context(), "no.such.method", nil, nil)

	code, text := fetch(t, "/metrics")
	_, err = h.dial().StopRestore(t.Context(), restore.RestoreID)
	must(t, err)
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
		`sendense_agent_rpc_requests_total{code="0",method="backup.start"} 2`,
		`sendense_agent_rpc_request_duration_seconds_count{method="vm.put"} 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, page := range []string{"/healthz", "/readyz"} {
		if code, text := fetch(t, page); code != http.StatusOK {
			t.Errorf("%s: %d %s", page, code, text)
		}
	}
	h.release("copy/0")
	h.completes(id, second)
}

var (
	typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	label    = regexp.MustCompile(`([a-z_]+)="`)
	docRow   = regexp.MustCompile("(?m)^\\| `(sendense_\\w+)` \\| (\\w+) \\| ([^|]*)\\| \\S")
	docLabel = regexp.MustCompile("`([a-z_]+)`")
)

// holdPrune has the daemon find, when it starts again, that a daily run was held.
func (h *hub) holdPrune(vm string) {
	h.Helper()
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		h.Fatalf("the daemon exited with code %d", code)
	}
	db, err := store.Open(filepath.Join(h.dir, "state", "agent.db"), store.Options{MustExist: true})
	must(h.T, err)
	must(h.T, db.HoldPrune(store.Hold{PointGroup: store.PointGroup{Repository: "main", VM: vm}, Removed: 4, Points: 5, Since: time.Now()}))
	must(h.T, db.Close())
	h.boot()
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
	text, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
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
	h := newHub(t, "[metrics]", "enabled = false")
	h.end()
	l, err := net.Listen("tcp", metricsAddress)
	must(t, err)
	defer l.Close()
	h.rewrite("enabled = false", "enabled = true")
	h.refuses("metrics.listen: listen tcp 127.0.0.1:9185: bind: address already in use")
}

// refuses expects that the daemon does not start, and why.
func (h *hub) refuses(words string) {
	h.Helper()
	d := start(h.T, program("sendense-agent"), "--config", h.config)
	if code, exited := d.exited(patient); !exited || code != 1 || !strings.Contains(d.stderr(), words) {
		h.Errorf("exited %v with code %d, want the words %q:\n%s", exited, code, words, d.stderr())
	}
}

// rewrite changes the configuration.
func (h *hub) rewrite(from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.config)
	must(h.T, err)
	i := strings.LastIndex(string(text), from)
	must(h.T, os.WriteFile(h.config, []byte(string(text[:i])+to+string(text[i+len(from):])), 0o644))
}

func TestMetricsOff(t *testing.T) {
	newHub(t, "[metrics]", "enabled = false")
	if c, err := net.Dial("tcp", metricsAddress); err == nil {
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
	must(t, os.WriteFile(web, fmt.Appendf(nil, `tls_server_config: {cert_file: %[1]s/cert.pem, key_file: %[1]s/key.pem}
basic_auth_users:
  prometheus: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay # test
`, dir), 0o600))
	h := newHub(t, "[metrics]", fmt.Sprintf("web_config_file = %q", web))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for password, want := range map[string]int{"test": http.StatusOK, "wrong": http.StatusUnauthorized} {
		for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+metricsAddress+page, nil)
			must(t, err)
			req.SetBasicAuth("prometheus", password)
			resp, err := client.Do(req)
			must(t, err)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s with the password %q: %s", page, password, resp.Status)
			}
		}
	}
	if resp, err := http.Get("http://" + metricsAddress + "/metrics"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("the metrics are there without TLS")
		}
	}
	h.end()
	must(t, os.WriteFile(web, []byte("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.pem}\n"), 0o600))
	h.refuses("metrics.web_config_file: ")
}

// writeCertificate makes a certificate for the metrics' address and returns the pool that trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, certificate, certificate, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots
}
