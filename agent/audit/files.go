package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// lastOf is the last line of the last file; if that has none, of the file before it.
func lastOf(dir, name string, data []byte) (Head, error) {
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	last := lines[len(lines)-1]
	if len(last) == 0 {
		names, err := files(dir)
		i := slices.Index(names, name)
		if err != nil || i <= 0 {
			return Head{}, err
		}
		before, err := os.ReadFile(names[i-1])
		if err != nil {
			return Head{}, fmt.Errorf("audit log: %w", err)
		}
		return lastOf(dir, names[i-1], before)
	}
	var e Entry
	if err := json.Unmarshal(last, &e); err != nil {
		return Head{}, fmt.Errorf("audit log: %s: its last line is no entry: %w: move the directory away to begin a new log", name, err)
	}
	return Head{e.Sequence, digest(last)}, nil
}

// begin begins the next file.
func (l *Log) begin() error {
	name := filepath.Join(l.dir, fmt.Sprintf("audit-%012d%s", l.head.Sequence+1, extension))
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // it was synced
	}
	l.file, l.size = file, 0
	return syncDir(l.dir)
}

// forget removes the files whose last entry is too old, and notes that in the log before. The last file stays.
func (l *Log) forget() error {
	if l.keep == 0 {
		return nil
	}
	names, err := files(l.dir)
	if err != nil {
		return err
	}
	old := 0
	for old < len(names)-1 {
		info, err := os.Stat(names[old])
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		if l.now().Sub(info.ModTime()) < l.keep {
			break
		}
		old++
	}
	if old == 0 {
		return nil
	}
	last, err := firstLine(names[old])
	if err != nil {
		return err
	}
	text := fmt.Sprintf("the lines up to %d are older than audit.keep and were removed", last-1)
	if _, err := l.append(Entry{Kind: Removed, Of: last - 1, Message: text}, true); err != nil {
		return err
	}
	for _, name := range names[:old] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	return nil
}

// firstLine is the sequence of the first line of a file, from its name.
func firstLine(name string) (sequence uint64, err error) {
	if _, err := fmt.Sscanf(filepath.Base(name), "audit-%d"+extension, &sequence); err != nil {
		return 0, fmt.Errorf("audit log: %s: its name is not that of a file of the log: move it away", name)
	}
	return sequence, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// files returns the paths of the files of a log, in their order.
func files(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "audit-*"+extension))
	slices.Sort(names)
	return names, err
}

// noteHead writes the head beside the log. If it cannot be written, the older one still proves all before it.
func (l *Log) noteHead() error {
	text, err := json.Marshal(l.head)
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, headFile)
	if err := writeSynced(path+".new", append(text, '\n')); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return os.Rename(path+".new", path)
}

// writeSynced writes a file that is whole after a power loss, once it is renamed.
func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
