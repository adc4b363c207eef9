package monitoring_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

const (
	rulesFile     = "../../../../packaging/prometheus/sendense-agent.rules.yml"
	rulesTestFile = "../../../../packaging/prometheus/sendense-agent.rules.test.yml"
)

type alertRule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// alertRules reads the alerts that packages install, without the rules that record a metric.
func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	readYAML(t, rulesFile, &file)
	var rules []alertRule
	for _, g := range file.Groups {
		rules = append(rules, slices.DeleteFunc(g.Rules, func(r alertRule) bool { return r.Alert == "" })...)
	}
	return rules
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	hubtest.Must(t, err)
	hubtest.Must(t, yaml.Unmarshal(text, into))
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlertRules: the rules pass their own tests, which have a firing and a silent case for each alert.
func TestAlertRules(t *testing.T) {
	promtool(t, "", "check", "rules", rulesFile)
	promtool(t, "", "test", "rules", rulesTestFile)
	var file struct {
		Tests []struct {
			Cases []struct {
				Alertname string
				Expected  []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, rulesTestFile, &file)
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Expected) > 0 {
				firing[c.Alertname] = true
			} else {
				silent[c.Alertname] = true
			}
		}
	}
	rules := alertRules(t)
	if len(rules) < 8 {
		t.Errorf("only %d alerts", len(rules))
	}
	for _, r := range rules {
		if !firing[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: tested firing %v, silent %v", r.Alert, firing[r.Alert], silent[r.Alert])
		}
	}
}

// TestAlertsSayWhatToDo: each alert says how severe it is, what is wrong, and where to read on.
func TestAlertsSayWhatToDo(t *testing.T) {
	const page = "https://github.com/sendense/backup-agent/blob/main/docs/troubleshooting.md#"
	headings := troubleshooting(t)
	for _, r := range alertRules(t) {
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 80 {
			t.Errorf("%s: says too little: %v", r.Alert, r.Annotations)
		}
		if want := page + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if !slices.Contains(headings, r.Alert) {
			t.Errorf("docs/troubleshooting.md has no section %s", r.Alert)
		}
	}
	known := map[string]bool{}
	for _, r := range alertRules(t) {
		known[r.Alert] = true
	}
	for _, h := range headings {
		if strings.HasPrefix(h, "Sendense") && !known[h] {
			t.Errorf("docs/troubleshooting.md has a section %s, and there is no such alert", h)
		}
	}
}

var (
	alertCommand = regexp.MustCompile(`sendensectl(?: [a-z-]+| "?(?:\{\{[^}]*\}\}|[A-Z]+)"?)+`)
	journalWords = regexp.MustCompile(`journalctl -u sendense-agent -g '([^']+)'`)
)

// TestAlertCommands: every command in a description exists and has the flags that are shown.
func TestAlertCommands(t *testing.T) {
	helps := helpTexts{}
	for _, r := range alertRules(t) {
		for _, line := range alertCommand.FindAllString(r.Annotations["description"], -1) {
			helps.check(t, r.Alert, strings.ReplaceAll(line, `"`, ""))
		}
	}
	if len(helps) < 8 {
		t.Errorf("found only %d commands: %v", len(helps), helps)
	}
}

// TestJournalSearches: the words that alerts and docs search the journal for are in a log line or in a reason of one.
func TestJournalSearches(t *testing.T) {
	texts := documents(t)
	for _, r := range alertRules(t) {
		texts[r.Alert] = r.Annotations["description"]
	}
	source := logSource(t)
	searches := 0
	for origin, text := range texts {
		for _, m := range journalWords.FindAllStringSubmatch(text, -1) {
			for words := range strings.SplitSeq(m[1], "|") {
				searches++
				if !strings.Contains(source, words) {
					t.Errorf("%s: searches the journal for %q, and no log line has these words", origin, words)
				}
			}
		}
	}
	if searches < 6 {
		t.Errorf("found only %d searches", searches)
	}
}

// logSource is the code that logs, without its tests and comments.
func logSource(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"../../../../agent", "../../../../cmd/sendense-agent"} {
		hubtest.Must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(strings.TrimSpace(line), "//") {
					all.WriteString(line)
				}
			}
			return err
		}))
	}
	return all.String()
}

var heading = regexp.MustCompile("(?m)^### `?([A-Za-z_]+)`?$")

// troubleshooting lists the sections of docs/troubleshooting.md that are about one alert or one reason.
func troubleshooting(t *testing.T) (sections []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../../../docs/troubleshooting.md"))
	hubtest.Must(t, err)
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		sections = append(sections, m[1])
	}
	return sections
}
