package filereader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// mostEntries limits the list of a directory. A larger directory can be copied.
const mostEntries = 100_000

// stat returns the entry at a path. Symbolic links are followed within the volume.
func (g *guest) stat(ctx context.Context, path string) (guestfiles.Entry, error) {
	out, err := g.ask(ctx, "statns", path)
	if err != nil {
		return guestfiles.Entry{}, err
	}
	list := parseStats(out)
	if len(list) != 1 {
		return guestfiles.Entry{}, fmt.Errorf("%s: cannot be read", path)
	}
	return list[0], nil
}

// entries lists a directory.
func (g *guest) entries(ctx context.Context, dir string) ([]guestfiles.Entry, error) {
	out, err := g.ask(ctx, "ls0", dir, "-")
	if err != nil {
		return nil, err
	}
	names := parseNames(out)
	if len(names) > mostEntries {
		return nil, fmt.Errorf("%s: has %d entries, and the limit of a list is %d: copy the directory with --to", dir, len(names), mostEntries)
	}
	var entries []guestfiles.Entry
	for _, some := range batches(names) {
		more, err := g.lstat(ctx, dir, some)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return entries, nil
}

// batches divides names into lists for one command of guestfish, in quotes. A name with a quote is a batch of its own.
func batches(names []string) [][]string {
	var all [][]string
	var batch []string
	size := 0
	for _, name := range names {
		if strings.Contains(name, "'") {
			all = append(all, []string{name})
			continue
		}
		if size += len(name) + 3; size > 64<<10 && len(batch) > 0 { // the limit of an argument is 128 KiB
			all, batch, size = append(all, batch), nil, len(name)+3
		}
		batch = append(batch, name)
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}

// lstat returns some entries of a directory, with the targets of symbolic links.
func (g *guest) lstat(ctx context.Context, dir string, names []string) ([]guestfiles.Entry, error) {
	command := []string{"lstatns", strings.TrimSuffix(dir, "/") + "/" + names[0]}
	if len(names) > 1 || !strings.Contains(names[0], "'") {
		command = []string{"lstatnslist", dir, quoted(names)}
	}
	out, err := g.ask(ctx, command...)
	if err != nil {
		return nil, err
	}
	list := parseStats(out)
	if len(list) != len(names) {
		return nil, fmt.Errorf("%s: only %d of %d entries can be read", dir, len(list), len(names))
	}
	for i := range list {
		list[i].Name = []byte(names[i])
		if list[i].Kind() == guestfiles.ModeLink {
			out, err := g.ask(ctx, "readlink", strings.TrimSuffix(dir, "/")+"/"+names[i])
			if errors.Is(err, errHung) {
				return nil, err
			}
			list[i].Target = bytes.TrimSuffix(out, []byte("\n"))
		}
	}
	return list, nil
}

func quoted(names []string) string { return "'" + strings.Join(names, "' '") + "'" }

// parseNames reads names that end in a zero byte. Names that are impossible in a directory are dropped.
func parseNames(out []byte) []string {
	var names []string
	for name := range bytes.SplitSeq(out, []byte{0}) {
		if len(name) == 0 || string(name) == "." || string(name) == ".." || bytes.ContainsRune(name, '/') {
			continue
		}
		names = append(names, string(name))
	}
	return names
}

// parseStats reads guestfish's output of statns structures: lines like "st_size: 4096", where st_dev begins a structure. All
// values are numbers, so that a name cannot be mistaken for one. A damaged entry has an inode of -1 and no type.
func parseStats(out []byte) []guestfiles.Entry {
	var list []guestfiles.Entry
	for line := range strings.Lines(string(out)) {
		key, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		if key == "st_dev" {
			list = append(list, guestfiles.Entry{})
		}
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil || len(list) == 0 {
			continue
		}
		e := &list[len(list)-1]
		switch key {
		case "st_mode":
			e.Mode = uint32(value)
		case "st_uid":
			e.UID = value
		case "st_gid":
			e.GID = value
		case "st_size":
			e.SizeBytes = max(value, 0)
		case "st_mtime_sec":
			e.Modified = moment(value)
		}
	}
	return list
}

// moment is a time that JSON can represent, whatever the file system says.
func moment(unix int64) time.Time {
	if t := time.Unix(unix, 0).UTC(); t.Year() >= 0 && t.Year() <= 9999 && unix > -1<<40 && unix < 1<<40 {
		return t
	}
	return time.Unix(0, 0).UTC()
}
