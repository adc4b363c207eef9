package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// imageOf is the image of a disk of a restore point.
func (h *hub) imageOf(id, disk string) string {
	h.Helper()
	images, err := filepath.Glob(filepath.Join(h.dir, "*", "*", id, "*-disk"+disk+".qcow2"))
	if err != nil || len(images) != 1 {
		h.Fatalf("images %v, %v", images, err)
	}
	return images[0]
}

// TestDamageCommands: an image was cut short, and no verification has seen it. No way to a restore serves it, and all that is shown
// tells of it, of what stands on it too; whoever asks for what is left gets it, with an exit code of its own.
func TestDamageCommands(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	full := h.point("pgtest1", rpc.Full)
	top := h.point("pgtest1", rpc.Incremental)
	image, dir := h.imageOf(full, "0"), t.TempDir()
	run(t, "cp", "--archive", image, image+".whole")
	run(t, "truncate", "--size", "-2M", image)
	for _, command := range []string{
		"restore disk " + top + " 0 " + dir + "/x", "restore disk " + full + " 0 " + dir + "/x --verify-digests",
		"restore start " + top, "restore start " + full + " --writable", "restore files " + top + " 0",
	} {
		code, stdout, stderr := h.ctl(words(command)...)
		if code != 4 || stdout != "" || !strings.Contains(stderr, image) || !strings.Contains(stderr, "--despite-damage") {
			t.Errorf("%s: %d %s %s", command, code, stdout, stderr)
		}
	}
	h.nothingServed()
	h.noRestoreLeft(dir)
	h.wantDamaged(full, top)

	code, stdout, stderr := h.ctl("restore", "disk", top, "0", dir+"/left", "--despite-damage", "-o", "json")
	var done struct {
		Compared bool                `json:"compared"`
		Digests  bool                `json:"digests_verified"`
		Damage   []rpc.RestoreDamage `json:"damage"`
	}
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || code != 5 || !done.Compared || done.Digests || len(done.Damage) != 1 ||
		!strings.Contains(stderr, "1 file is damaged") || !strings.Contains(stderr, image) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	code, stdout, stderr = h.ctl("restore", "start", top, "--despite-damage", "-o", "json")
	var served rpc.Restore
	if err := json.Unmarshal([]byte(stdout), &served); err != nil || code != 5 || len(served.Damage) != 1 || !strings.Contains(stderr, image) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	h.steps(step{words("restore stop " + served.RestoreID), 0, "ended", ""})

	must(t, os.Rename(image+".whole", image))
	h.steps(
		step{words("restore start " + top), 4, "", "found damaged"}, // until it is verified
		step{words("backup verify " + full), 0, "result:  ok", ""},
		step{words("backup list --damaged"), 0, "BACKUP", "no such backups"},
		step{words("restore disk " + top + " 0 " + dir + "/whole --verify-digests"), 0, "compared with the restore point; the restore point matches its digests", "disk 0"},
	)
	flipAt(t, image, dataIn(t, image))
	h.steps(
		step{words("restore disk " + top + " 0 " + dir + "/unread"), 0, "compared with the restore point\n", "disk 0"}, // which claims no more
		step{words("restore disk " + top + " 0 " + dir + "/read --verify-digests"), 4, "", "is not what was written"},
	)
	h.wantDamaged(full, top)
	h.nothingServed()
}

// dataIn is a place in an image that holds the guest's data.
func dataIn(t *testing.T, image string) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "map", "-f", "qcow2", "--output=json", image).Output()
	must(t, err)
	var extents []struct {
		Data   bool  `json:"data"`
		Offset int64 `json:"offset"`
	}
	must(t, json.Unmarshal(out, &extents))
	for _, e := range extents {
		if e.Data && e.Offset > 0 {
			return e.Offset
		}
	}
	t.Fatalf("%s holds no data", image)
	return 0
}

// wantDamaged looks that everything that is shown tells of the damage of a full backup, and of what stands on it.
func (h *hub) wantDamaged(full, top string) {
	h.Helper()
	page := filepath.Join(h.TempDir(), "page.html")
	h.steps(
		step{words("backup list --damaged"), 0, top, ""},
		step{words("backup list --damaged"), 0, full, ""},
		step{words("backup list"), 0, "based on damage", ""},
		step{words("backup chain pgtest1"), 0, "based on damage", ""},
		step{words("backup show " + top), 0, "damage from:", ""},
		step{words("backup start pgtest1 --type incremental"), 1, "", "damaged"},
		step{words("backup consolidate " + top), 1, "", "damaged"},
		step{words("report --html " + page), 0, page, ""},
	)
	text, err := os.ReadFile(page)
	must(h.T, err)
	if n := strings.Count(string(text), `,"damaged",`); n != 2 || !strings.Contains(string(text), "its newest restore point is based on "+full+", which is damaged") {
		h.Errorf("the page tells of %d damaged restore points", n)
	}
	_, stdout, _ := h.ctl("backup", "show", top, "-o", "json")
	var b rpc.Backup
	must(h.T, json.Unmarshal([]byte(stdout), &b))
	if !slices.Equal(b.InheritedFrom, []string{full}) || b.Verified != nil && len(b.Verified.Damage) > 0 {
		h.Errorf("the record of %s tells of %q, %+v", top, b.InheritedFrom, b.Verified)
	}
}
