package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/sendense/backup-agent/agent/rebuild"
)

// A rebuildReport is what a rebuild did, or would do; as JSON it is what --output json prints.
type rebuildReport struct {
	Database string `json:"database"`
	DryRun   bool   `json:"dry_run"`
	SetAside string `json:"set_aside,omitempty"` // where a damaged database is kept
	rebuild.Report
}

func (r *rebuildReport) print(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	r.table(&b)
	if r.SetAside != "" {
		fmt.Fprintf(&b, "the database was damaged; it is kept as %s\n", plain(r.SetAside))
	}
	for _, vm := range r.VMs {
		fmt.Fprintf(&b, "registered vm %s\n", plain(vm))
	}
	for _, p := range r.Corrected {
		fmt.Fprintf(&b, "corrected %s: its manifest is newer than the database\n", plain(p.BackupID))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem: %s\n  %s\n", plain(p.Path), plain(p.Reason))
	}
	done := "done"
	if r.DryRun {
		done = "nothing is changed; a rebuild would do this"
	}
	there := fmt.Sprintf("%d already there", len(r.AlreadyThere)+len(r.Corrected))
	if n := len(r.Corrected); n > 0 {
		there += fmt.Sprintf(" (%d corrected)", n)
	}
	fmt.Fprintf(&b, "%s: %d imported, %s, %s registered, %s (%s)\n",
		done, len(r.Imported), there, count(len(r.VMs), "VM"), count(len(r.Problems), "problem"), plain(r.Database))
	_, err := io.WriteString(w, b.String())
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// table has a row for every VM of every repository, and one for an empty repository.
func (r *rebuildReport) table(w io.Writer) {
	type row struct{ repository, vm string }
	type counts struct{ imported, there int }
	rows := map[row]counts{}
	for _, p := range r.Imported {
		c := rows[row{p.Repository, p.VMName}]
		c.imported++
		rows[row{p.Repository, p.VMName}] = c
	}
	for _, p := range slices.Concat(r.AlreadyThere, r.Corrected) {
		c := rows[row{p.Repository, p.VMName}]
		c.there++
		rows[row{p.Repository, p.VMName}] = c
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REPOSITORY\tVM\tIMPORTED\tALREADY THERE")
	for _, repository := range r.Repositories {
		var keys []row
		for key := range rows {
			if key.repository == repository {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			fmt.Fprintf(t, "%s\t-\t0\t0\n", repository)
		}
		slices.SortFunc(keys, func(a, b row) int { return cmp.Compare(a.vm, b.vm) })
		for _, key := range keys {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\n", repository, plain(key.vm), rows[key].imported, rows[key].there)
		}
	}
	_ = t.Flush() // w is memory
}

// plain quotes text that holds control characters or is not valid UTF-8: a terminal would obey it.
func plain(s string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, hidden) {
		return s
	}
	return strconv.Quote(s)
}
