package figures

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
)

// A Part of the report: one table, and how its figures were measured.
type Part struct {
	Title, Method string
	Head          []string
	rows          [][]string
	Note          string // a note about this run
}

// Add adds a row.
func (p *Part) Add(cells ...string) { p.rows = append(p.rows, cells) }

// Text is the part as Markdown.
func (p Part) Text() string {
	t := table.NewWriter()
	t.AppendHeader(cells(p.Head))
	for _, row := range p.rows {
		t.AppendRow(cells(row))
	}
	text := fmt.Sprintf("## %s\n\n%s\n\n%s\n", p.Title, p.Method, t.RenderMarkdown())
	if p.Note != "" {
		text += "\n" + p.Note + "\n"
	}
	return text
}

func cells(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for i, text := range texts {
		row[i] = text
	}
	return row
}

// A Report is the contents of docs/benchmarks.md.
type Report struct {
	rounds  int
	began   time.Time
	machine []string // at the beginning
	Parts   []Part
}

// New begins a report of so many rounds, whose images lie on disk.
func New(disk string, rounds int) *Report {
	return &Report{rounds: rounds, began: time.Now(), machine: machine(disk)}
}

const preface = `# Benchmarks

Written by ` + "`make bench`" + `, which anyone can run: it needs root, a disk with O_DIRECT and half an hour, and leaves nothing behind.

Absolute times are those of one machine at one time. What counts are the ratios: all contenders of a table take turns
(A B C A B C ...), each ratio is taken within one round, and the table gives the median of the rounds with the least and the
most. A ratio of times below 1 says that the agent is faster. One round before the first is not counted.
`

// Text is the report as Markdown.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString(preface)
	fmt.Fprintf(&b, "\nRun of %s, %d rounds.\n\n", r.began.UTC().Format("2006-01-02 15:04 UTC"), r.rounds)
	for _, line := range r.machine {
		fmt.Fprintln(&b, "- "+line)
	}
	for _, p := range r.Parts {
		b.WriteString("\n" + p.Text())
	}
	return b.String()
}

// machine describes what the figures depend on.
func machine(disk string) []string {
	lines := []string{
		fmt.Sprintf("%d CPUs (%s), %s, load %s when the run began", runtime.NumCPU(), field("/proc/cpuinfo", "model name"),
			field("/proc/meminfo", "MemTotal"), host.FirstWord("/proc/loadavg")),
		fmt.Sprintf("Linux %s, %s", host.FirstWord("/proc/sys/kernel/osrelease"), field("/etc/os-release", "PRETTY_NAME")),
	}
	var fs unix.Statfs_t
	if unix.Statfs(disk, &fs) == nil {
		lines = append(lines, fmt.Sprintf("file system of the images: %s", fsName(int64(fs.Type))))
	}
	for _, version := range [][]string{
		{"systemctl", "--version"}, {"qemu-nbd", "--version"}, {"qemu-storage-daemon", "--version"}, {"nbdkit", "--version"}, {"nbdcopy", "--version"},
	} {
		out, _ := exec.Command(version[0], version[1:]...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		lines = append(lines, line)
	}
	return append(lines, runtime.Version())
}

func fsName(kind int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.NFS_SUPER_MAGIC: "nfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", kind)
}

// field is the value in the first line of a file that begins with the name.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, name)
		if found {
			return strings.Trim(strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(rest), ":=")), `"`)
		}
	}
	return "unknown"
}
