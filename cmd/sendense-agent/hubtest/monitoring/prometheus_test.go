package monitoring_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

const prometheusAddress = "127.0.0.1:9090"

// TestPrometheus has Debian's Prometheus scrape the daemon as docs/metrics.md says, with the rules that are shipped, and asks
// it everything that the rules and the dashboard ask.
func TestPrometheus(t *testing.T) {
	h := hubtest.New(t)
	first, _ := h.AddVM("first", hubtest.DiskSize), h.AddVM("second", hubtest.DiskSize)
	id := h.Held("first", "copy/0")
	h.Release("copy/0")
	h.Completes(id, first)
	restore, err := h.Dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	hubtest.Must(t, err)
	running := h.Held("second", "copy/0")
	_ = h.Dial().Call(t.Context(), "no.such.method", nil, nil)
	startPrometheus(h)

	h.Eventually("Prometheus has scraped the daemon twice", func() bool {
		return value(t, `count_over_time(up{job="sendense-agent"}[1m])`) >= 2
	})
	for query, want := range map[string]float64{
		`up{job="sendense-agent"}`:                                                                            1,
		`sendense_backup_ended_total{type="full",result="completed"}`:                                         1,
		`sum(sendense_backup_active)`:                                                                         1,
		`sendense_backup_active{state="running"}`:                                                             1,
		`sendense_backup_active_info{vm="second",type="full",repository="main",state="running"}`:              1,
		`sendense_agent_exports`:                                                                              2,
		`sendense_agent_ports{state="leased"}`:                                                                2,
		`sum(sendense_agent_ports)`:                                                                           101,
		`sendense_agent_vms`:                                                                                  2,
		`sendense_backup_last_success_size_bytes{vm="first",repository="main"}`:                               hubtest.DiskSize,
		`time() - sendense_backup_last_success_timestamp_seconds{vm="first"} < bool 600`:                      1,
		`count(sendense_backup_last_success_timestamp_seconds)`:                                               1,
		`sendense_agent_sna_calls_total{outcome="accepted"}`:                                                  2,
		`histogram_quantile(0.5, sendense_backup_start_phase_duration_seconds_bucket{phase="call"}) > bool 0`: 1,
		`sendense_agent_rpc_requests_total{method="unknown",code="-32601"}`:                                   1,
		`sum(sendense_agent_build_info)`:                                                                      1,
	} {
		h.Eventually(fmt.Sprintf("%s is %v", query, want), func() bool { // a scrape may fail on a busy machine
			return value(t, query) == want
		})
	}
	_, text := hubtest.Fetch(t, "/metrics")
	promtool(t, text, "check", "metrics")
	t.Run("rules", func(t *testing.T) { rulesWork(h, t) })
	shown := shownMetrics(text)
	maps.Copy(shown, documentedMetrics(t)) // some are there only while something is wrong; TestMetricsReference holds these
	t.Run("queries", func(t *testing.T) { queriesWork(t, shown) })
	_, err = h.Dial().StopRestore(t.Context(), restore.RestoreID)
	hubtest.Must(t, err)
	alertsFire(h, running)
}

// startPrometheus starts it with the scrape configuration of the reference.
func startPrometheus(h *hubtest.Hub) {
	h.Helper()
	doc, err := os.ReadFile("../../../../docs/metrics.md")
	hubtest.Must(h.T, err)
	scrape := regexp.MustCompile("(?s)```yaml\n(scrape_configs:.*?)```").FindSubmatch(doc)
	if scrape == nil {
		h.Fatal("docs/metrics.md shows no scrape_configs")
	}
	rules, err := filepath.Abs(rulesFile)
	hubtest.Must(h.T, err)
	config := filepath.Join(h.Dir, "prometheus.yml")
	hubtest.Must(h.T, os.WriteFile(config, fmt.Appendf(nil, "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}\nrule_files: [%q]\n%s",
		rules, scrape[1]), 0o644))
	p := hubtest.Start(h.T, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(h.Dir, "prometheus"),
		"--web.listen-address="+prometheusAddress)
	h.Eventually("Prometheus is ready", func() bool {
		if code, exited := p.Exited(0); exited {
			h.Fatalf("prometheus exited with code %d: %s", code, p.Stderr())
		}
		resp, err := http.Get("http://" + prometheusAddress + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// ask calls Prometheus' API.
func ask(t *testing.T, path string, query url.Values, into any) {
	t.Helper()
	resp, err := http.Get("http://" + prometheusAddress + "/api/v1/" + path + "?" + query.Encode())
	hubtest.Must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	hubtest.Must(t, err)
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	hubtest.Must(t, json.Unmarshal(text, &answer))
	if answer.Status != "success" {
		t.Fatalf("%s %v: %s", path, query, answer.Error)
	}
	hubtest.Must(t, json.Unmarshal(answer.Data, into))
}

// value is what a query gives that gives one sample, or -1 for none.
func value(t *testing.T, query string) float64 {
	t.Helper()
	var answer struct {
		Result []struct{ Value [2]any }
	}
	ask(t, "query", url.Values{"query": {query}}, &answer)
	switch len(answer.Result) {
	case 0:
		return -1
	case 1:
		v, err := strconv.ParseFloat(answer.Result[0].Value[1].(string), 64)
		hubtest.Must(t, err)
		return v
	}
	t.Fatalf("%s: %d samples: %v", query, len(answer.Result), answer.Result)
	return 0
}

// rulesWork looks that every rule has been evaluated without an error, and that none fires while all is well.
func rulesWork(h *hubtest.Hub, t *testing.T) {
	var answer struct {
		Groups []struct {
			Rules []struct{ Name, Health, State, LastError string }
		}
	}
	h.Eventually("every rule is evaluated", func() bool {
		ask(t, "rules", nil, &answer)
		n, all := 0, 0
		for _, g := range answer.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" || r.State == "firing" {
					t.Fatalf("%s: %+v", r.Name, r)
				}
				all++
				if r.Health == "ok" {
					n++
				}
			}
		}
		return n == all && n >= len(alertRules(t)) // there are recording rules, too
	})
}

// queriesWork asks Prometheus every query of the rules and the dashboard, and looks that each takes only metrics and labels
// that the daemon has.
func queriesWork(t *testing.T, shown map[string]string) {
	queries := readDashboard(t).queries()
	for _, r := range alertRules(t) {
		queries["alert "+r.Alert] = []string{r.Expr}
	}
	n := 0
	for _, of := range slices.Sorted(maps.Keys(queries)) {
		for _, q := range queries[of] {
			n++
			var answer json.RawMessage
			ask(t, "query", url.Values{"query": {q}}, &answer)
			for _, problem := range unknownTo(shown, q) {
				t.Errorf("%s: %s: %s", of, problem, q)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d queries", n)
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:sendense|process|go)_\w+\b|\bup\b`)
	matchers   = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\b(?:by|on|ignoring|without)\s*\(([^)]*)\)`)
)

// unknownTo says which metrics and labels of a query there are not. shown has type and labels of each metric.
func unknownTo(shown map[string]string, query string) (problems []string) {
	labels := map[string]bool{"job": true, "instance": true, "le": true}
	known := func(name string) (string, bool) {
		if name == "up" {
			return "gauge", true
		}
		of, ok := shown[strings.TrimSuffix(name, "_bucket")]
		return of, ok
	}
	for _, name := range metricName.FindAllString(query, -1) {
		of, ok := known(name)
		if !ok {
			problems = append(problems, "there is no metric "+name)
		}
		for _, l := range strings.Fields(of)[min(1, len(strings.Fields(of))):] {
			labels[l] = true
		}
	}
	for _, m := range matchers.FindAllStringSubmatch(query, -1) {
		of, _ := known(m[1])
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(append(strings.Fields(of), "job", "instance"), l[1]) {
				problems = append(problems, m[1]+" has no label "+l[1])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if l = strings.TrimSpace(l); l != "" && !labels[l] {
				problems = append(problems, "no metric has the label "+l)
			}
		}
	}
	return problems
}

// alertsFire kills the exporter of a backup that runs, and then stops the daemon: Prometheus notices both.
func alertsFire(h *hubtest.Hub, id string) {
	h.Helper()
	b, err := h.Dial().GetBackup(h.Context(), id)
	hubtest.Must(h.T, err)
	hubtest.Must(h.T, syscall.Kill(b.Disks[0].QemuNBDPID, syscall.SIGKILL))
	for _, alert := range []string{`SendenseExporterCrashed",result="signal`, `SendenseBackupsFailing",reason="exporter_failed`} {
		h.Eventually("it fires: "+alert, func() bool {
			return value(h.T, `ALERTS{alertstate="firing",alertname="`+alert+`"}`) == 1
		})
	}
	h.Release("copy/0")
	h.End()
	h.Eventually("Prometheus sees that the daemon is down", func() bool {
		return value(h.T, `ALERTS{alertname="SendenseAgentDown"}`) == 1
	})
}

// The check itself finds what is wrong.
func TestUnknownTo(t *testing.T) {
	shown := map[string]string{"sendense_a_total": "counter vm", "sendense_b_seconds": "histogram phase"}
	for query, want := range map[string]int{
		`sum by (vm) (sendense_a_total{vm="x",instance=~".*"})`:                             0,
		`histogram_quantile(0.5, sum by (le, phase) (rate(sendense_b_seconds_bucket[1m])))`: 0,
		`sendense_c`:                        1,
		`sendense_a_total{phase="x"}`:       1,
		`sum by (phase) (sendense_a_total)`: 1,
		`sendense_a_total / on (x) up`:      1,
	} {
		if got := unknownTo(shown, query); len(got) != want {
			t.Errorf("%s: %q, want %d", query, got, want)
		}
	}
}
