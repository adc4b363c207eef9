package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir, 0)
	must(t, err)
	return l
}

// filled is a log with five entries.
func filled(t *testing.T) (dir string) {
	dir = filepath.Join(t.TempDir(), "audit")
	l := open(t, dir)
	uid := uint32(0)
	for _, method := range []string{"vm.put", "backup.start", "backup.delete", "vm.remove", "backup.prune"} {
		_, err := l.Append(Entry{Kind: Request, Method: method, UID: &uid, User: "root", PID: 1, Params: json.RawMessage(`{"vm_name":"a"}`)}, true)
		must(t, err)
	}
	must(t, l.Close())
	return dir
}

func methods(t *testing.T, dir string, heads ...Head) (list []string, last Head, err error) {
	t.Helper()
	_, last, err = Read(dir, heads, func(e Entry) error {
		list = append(list, e.Method)
		return nil
	})
	return list, last, err
}

// TestChain: entries are read as they were written, by whoever opens the log next.
func TestChain(t *testing.T) {
	dir := filled(t)
	l := open(t, dir)
	head, err := l.Append(Entry{Kind: Answer, Of: 5, Reason: "busy"}, true)
	must(t, err)
	must(t, l.Close())
	list, last, err := methods(t, dir)
	if err != nil || strings.Join(list, " ") != "vm.put backup.start backup.delete vm.remove backup.prune " || last != head || last.Sequence != 6 {
		t.Errorf("%q, %v, %v", list, last, err)
	}
	parsed, err := ParseHead(head.String())
	if err != nil || parsed != head {
		t.Errorf("%v, %v", parsed, err)
	}
	if _, err := ParseHead("6"); err == nil {
		t.Error("a head without a digest")
	}
	if _, err := l.Append(Entry{}, true); err == nil {
		t.Error("appended to a closed log")
	}
}

// TestTampering: whatever is done to a line is found, and the line is named.
func TestTampering(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(lines []string) []string
		want string
	}{
		"changed":          {func(l []string) []string { l[1] = strings.Replace(l[1], "backup.start", "backup.getxx", 1); return l }, "line 3: the line before it, number 2, was changed"},
		"last one changed": {func(l []string) []string { l[4] = strings.Replace(l[4], "prune", "chain", 1); return l }, "line 5: it is not the line 5 of which the digest was noted"},
		"removed":          {func(l []string) []string { return append(l[:2], l[3:]...) }, "line 3: it has the number 4, and the line before it has 2"},
		"moved":            {func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }, "line 2: it has the number 3"},
		"end cut off":      {func(l []string) []string { return l[:4] }, "its last line is 4, and there was a line 5: the end was cut off"},
		"all cut off":      {func([]string) []string { return nil }, "its last line is 0, and there was a line 5"},
		"no entry":         {func(l []string) []string { l[0] = "x"; return l }, "line 1: it is no entry"},
		"in mid line":      {func(l []string) []string { l[4] = strings.TrimSuffix(l[4], "}\n"); return l }, "line 5: it is not complete"},
		"written again": {func(l []string) []string { // with digests that fit each other
			var previous string
			for i := range l {
				var e Entry
				_ = json.Unmarshal([]byte(l[i]), &e)
				e.User, e.Previous = "nobody", previous
				line, _ := json.Marshal(e)
				l[i], previous = string(line)+"\n", digest(line)
			}
			return l
		}, "line 5: it is not the line 5 of which the digest was noted"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			names, err := files(dir)
			must(t, err)
			text, err := os.ReadFile(names[0])
			must(t, err)
			lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
			lines[len(lines)-1] += "\n"
			must(t, os.WriteFile(names[0], []byte(strings.Join(tt.harm(lines), "")), 0o600))
			_, _, err = methods(t, dir)
			var broken *Broken
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// TestNotedHead: a head that a person noted proves that nothing before it was changed, also if all files and the head in them were replaced.
func TestNotedHead(t *testing.T) {
	dir := filled(t)
	_, head, err := methods(t, dir)
	must(t, err)
	other := filled(t)
	if _, _, err := methods(t, other, head); err == nil || !strings.Contains(err.Error(), "of which the digest was noted") {
		t.Errorf("another log has the head: %v", err)
	}
	l := open(t, dir)
	_, err = l.Append(Entry{Kind: Request, Method: "vm.put"}, true)
	must(t, err)
	must(t, l.Close())
	if _, _, err := methods(t, dir, head); err != nil {
		t.Error(err)
	}
}

// TestTornLine: the agent died while it wrote a line. The next one removes what there is of it, says so, and the chain holds.
func TestTornLine(t *testing.T) {
	for _, torn := range []string{`{"seq":6,"ti`, `{"seq":6}`} {
		dir := filled(t)
		names, err := files(dir)
		must(t, err)
		f, err := os.OpenFile(names[0], os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString(torn)
		must(t, err)
		must(t, f.Close())
		must(t, open(t, dir).Close())
		var last Entry
		_, head, err := Read(dir, nil, func(e Entry) error {
			last = e
			return nil
		})
		if err != nil || head.Sequence != 6 || last.Kind != Repaired || !strings.Contains(last.Message, "bytes of a line") {
			t.Errorf("%q: %+v, %v", torn, last, err)
		}
	}
}

// TestFiles: a file that is large enough is followed by another one, the chain goes through all, and those that are too old are removed.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := Open(dir, 24*time.Hour)
	must(t, err)
	now := time.Now()
	l.now = func() time.Time { return now }
	long := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for range 40 {
		_, err := l.Append(Entry{Kind: Request, Params: long}, false)
		must(t, err)
	}
	names, err := files(dir)
	must(t, err)
	if _, last, err := Read(dir, nil, nil); err != nil || len(names) != 3 || last.Sequence != 40 {
		t.Errorf("%d files, last %v, %v", len(names), last, err)
	}
	now = now.Add(48 * time.Hour)
	for range 10 {
		_, err := l.Append(Entry{Kind: Request, Params: long}, false)
		must(t, err)
	}
	names, err = files(dir)
	must(t, err)
	first, last, err := Read(dir, nil, nil)
	if err != nil || len(names) != 1 || first.Sequence == 1 || last.Sequence != 51 {
		t.Errorf("%d files, first %v, last %v, %v", len(names), first, last, err)
	}
	must(t, l.Close())
	l = open(t, dir)
	if head, err := l.Append(Entry{Kind: Request}, true); err != nil || head.Sequence != 52 {
		t.Errorf("%v, %v", head, err)
	}
	must(t, l.Close())
}

// TestManyAtOnce: entries of many callers make one chain.
func TestManyAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, dir)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			for range 20 {
				if _, err := l.Append(Entry{Kind: Request}, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	must(t, l.Close())
	if _, last, err := Read(dir, nil, nil); err != nil || last.Sequence != 400 {
		t.Errorf("%v, %v", last, err)
	}
}

// TestFullDisk: an entry that does not fit leaves the log as it was, and the next one that fits follows.
func TestFullDisk(t *testing.T) {
	dir := filled(t)
	l := open(t, dir)
	whole := l.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	l.file = full
	if _, err := l.Append(Entry{Kind: Request}, true); err == nil {
		t.Error("written to a full disk")
	}
	must(t, full.Close())
	l.file = whole
	head, err := l.Append(Entry{Kind: Request}, true)
	must(t, err)
	must(t, l.Close())
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil || head.Sequence != 6 || !bytes.Contains(text, []byte(head.Digest)) {
		t.Errorf("%v: %s, %v", head, text, err)
	}
	if _, _, err := methods(t, dir); err != nil {
		t.Error(err)
	}
}

// TestDamageStays: a log that was cut or changed while no agent ran is found also after the next agent has written to it.
func TestDamageStays(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(t *testing.T, dir, file string)
		want string
	}{
		"end cut off":    {func(t *testing.T, _, file string) { must(t, os.Truncate(file, int64(len(firstLines(t, file, 3))))) }, "its last line is 3, and there was a line 5: the end was cut off"},
		"all removed":    {func(t *testing.T, _, file string) { must(t, os.Remove(file)) }, "its last line is 0, and there was a line 5"},
		"last one other": {func(t *testing.T, _, file string) { change(t, file, "backup.prune", "backup.start") }, "it is not the line 5 of which the digest was noted"},
		"first changed":  {func(t *testing.T, _, file string) { change(t, file, "vm.put", "vm.get") }, "line 2: the line before it, number 1, was changed"},
		"no head":        {func(t *testing.T, dir, _ string) { must(t, os.WriteFile(filepath.Join(dir, headFile), nil, 0o600)) }, "head: it names no line"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			names, err := files(dir)
			must(t, err)
			tt.harm(t, dir, names[0])
			for range 2 { // the second start does not note it again
				l := open(t, dir)
				_, err = l.Append(Entry{Kind: Request, Method: "vm.put"}, true)
				must(t, err)
				must(t, l.Close())
			}
			_, _, err = Read(dir, nil, nil)
			broken := new(Broken)
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func firstLines(t *testing.T, file string, count int) string {
	text, err := os.ReadFile(file)
	must(t, err)
	return strings.Join(strings.SplitAfter(string(text), "\n")[:count], "")
}

func change(t *testing.T, file, from, to string) {
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, bytes.Replace(text, []byte(from), []byte(to), 1), 0o600))
}

// TestFirstFileRemoved: the oldest file may be removed by the agent, which says so, and by nobody else.
func TestFirstFileRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, dir)
	long := json.RawMessage(`"` + strings.Repeat("x", 6<<20) + `"`)
	for range 7 {
		_, err := l.Append(Entry{Kind: Request, Params: long}, false)
		must(t, err)
	}
	must(t, l.Close())
	names, err := files(dir)
	must(t, err)
	must(t, os.Remove(names[0]))
	broken := new(Broken)
	if _, _, err := Read(dir, nil, nil); !errors.As(err, &broken) || !strings.Contains(err.Error(), "no line says that those before it were removed") {
		t.Error(err)
	}
}

// TestTornAndFull: a half of a line that could not be removed is removed before the next one is written.
func TestTornAndFull(t *testing.T) {
	dir := filled(t)
	l := open(t, dir)
	_, err := l.file.WriteString(`{"seq":6,"ti`)
	must(t, err)
	l.torn = true
	_, err = l.Append(Entry{Kind: Request}, true)
	must(t, err)
	must(t, l.Close())
	if _, last, err := Read(dir, nil, nil); err != nil || last.Sequence != 6 {
		t.Errorf("%v, %v", last, err)
	}
}
