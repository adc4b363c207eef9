package files

import (
	"bytes"
	"io/fs"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// listed is an entry of a list of files.
type listed struct {
	Name       string    `json:"name"`
	NameBytes  []byte    `json:"name_base64,omitempty"` // if the name is not UTF-8
	Kind       string    `json:"kind"`
	Mode       string    `json:"mode"` // in the form of ls
	SizeBytes  int64     `json:"size_bytes"`
	UID        int64     `json:"uid"`
	GID        int64     `json:"gid"`
	ModifiedAt time.Time `json:"modified_at"`
	Target     string    `json:"target,omitempty"` // of a symbolic link
}

// kinds are the kinds of files, by their bits in st_mode.
var kinds = map[uint32]struct {
	name string
	mode fs.FileMode
}{
	guestfiles.ModeRegular: {"file", 0},
	guestfiles.ModeDir:     {"directory", fs.ModeDir},
	guestfiles.ModeLink:    {"link", fs.ModeSymlink},
	0o020000:               {"character device", fs.ModeDevice | fs.ModeCharDevice},
	0o060000:               {"block device", fs.ModeDevice},
	0o010000:               {"fifo", fs.ModeNamedPipe},
	0o140000:               {"socket", fs.ModeSocket},
}

// listedOf makes a list of files, sorted by name.
func listedOf(entries []guestfiles.Entry) []listed {
	slices.SortFunc(entries, func(a, b guestfiles.Entry) int { return bytes.Compare(a.Name, b.Name) })
	list := make([]listed, 0, len(entries))
	for _, e := range entries {
		kind, known := kinds[e.Kind()]
		if !known {
			kind.name, kind.mode = "damaged", fs.ModeIrregular
		}
		l := listed{
			Name: string(e.Name), Kind: kind.name, SizeBytes: e.SizeBytes, UID: e.UID, GID: e.GID, ModifiedAt: e.Modified,
			Target: string(e.Target), Mode: (kind.mode | permissions(e.Mode)).String(),
		}
		if !utf8.Valid(e.Name) {
			l.NameBytes = e.Name
		}
		list = append(list, l)
	}
	return list
}

func permissions(mode uint32) fs.FileMode {
	perm := fs.FileMode(mode) & fs.ModePerm
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			perm |= m
		}
	}
	return perm
}

func printListed(p *output.Printer, list []listed) {
	var rows [][]string
	for _, l := range list {
		size := human.Size(l.SizeBytes)
		if l.Kind != "file" {
			size = ""
		}
		name := l.Name
		if l.Target != "" {
			name += " -> " + l.Target
		}
		rows = append(rows, []string{
			l.Mode, strconv.FormatInt(l.UID, 10) + ":" + strconv.FormatInt(l.GID, 10), size, human.ShortTime(l.ModifiedAt), name,
		})
	}
	p.Table([]output.Column{{Title: "mode", Rank: 2}, {Title: "owner", Rank: 3}, {Title: "size"}, {Title: "modified", Rank: 1}, {Title: "name"}}, rows)
}
