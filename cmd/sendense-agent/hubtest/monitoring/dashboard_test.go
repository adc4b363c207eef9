package monitoring_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

type dashboard struct {
	UID        string
	Templating struct{ List []variable }
	Panels     []panel
}

type variable struct {
	Name, Type, Definition string
	Datasource             *datasource
}

type datasource struct{ Type, UID string }

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource *datasource
	GridPos    struct{ H, W, X, Y int }
	Targets    []struct {
		Datasource *datasource
		RefID      string
		Expr       string
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("../../../../packaging/grafana/sendense-agent.json")
	hubtest.Must(t, err)
	var d dashboard
	hubtest.Must(t, json.Unmarshal(text, &d))
	return d
}

// TestDashboard: the dashboard can be imported anywhere. It asks the data source that is chosen and no other, its panels
// have each an id and a place, and what it takes for a variable is one.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	chosen := datasource{"prometheus", "${datasource}"}
	known := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		known = append(known, v.Name)
		if v.Type == "query" && (v.Datasource == nil || *v.Datasource != chosen) {
			t.Errorf("variable %s: data source %v", v.Name, v.Datasource)
		}
	}
	for _, want := range []string{"datasource", "instance", "vm"} {
		if !slices.Contains(known, want) {
			t.Errorf("no variable %s", want)
		}
	}
	ids, places := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if other := ids[p.ID]; other != "" || p.ID == 0 {
			t.Errorf("panel %q has the id %d of %q", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or outside", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource == nil || *p.Datasource != chosen {
			t.Errorf("panel %q: %d queries, data source %v", p.Title, len(p.Targets), p.Datasource)
		}
		for _, q := range p.Targets {
			if q.Datasource == nil || *q.Datasource != chosen || q.RefID == "" {
				t.Errorf("panel %q: query %q asks %v", p.Title, q.RefID, q.Datasource)
			}
			for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("panel %q: there is no variable %s", p.Title, m[1])
				}
			}
		}
	}
}

// queries are all expressions of the dashboard, with something in the place of the variables, by panel.
func (d dashboard) queries() map[string][]string {
	fill := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$vm", ".*")
	queries := map[string][]string{}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			queries["panel "+p.Title] = append(queries["panel "+p.Title], fill.Replace(q.Expr))
		}
	}
	for _, v := range d.Templating.List {
		if q, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			metric, label, _ := strings.Cut(strings.TrimSuffix(q, ")"), ", ")
			queries["variable "+v.Name] = []string{"count by (" + label + ") (" + fill.Replace(metric) + ")"}
		}
	}
	return queries
}
