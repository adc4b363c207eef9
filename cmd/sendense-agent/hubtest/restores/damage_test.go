package restores_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// imageOf is the image of a disk of a restore point.
func imageOf(h *hubtest.Hub, id, disk string) string {
	h.Helper()
	images, err := filepath.Glob(filepath.Join(h.Dir, "*", "*", id, "*-disk"+disk+".qcow2"))
	if err != nil || len(images) != 1 {
		h.Fatalf("images %v, %v", images, err)
	}
	return images[0]
}

// TestDamageCommands: an image was cut short, and no verification has seen it. No way to a restore serves it, and all that is shown
// tells of it, of what stands on it too; whoever asks for what is left gets it, with an exit code of its own.
func TestDamageCommands(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	full := h.Point("pgtest1", rpc.Full)
	top := h.Point("pgtest1", rpc.Incremental)
	image, dir := imageOf(h, full, "0"), t.TempDir()
	hubtest.Run(t, "cp", "--archive", image, image+".whole")
	hubtest.Run(t, "truncate", "--size", "-2M", image)
	for _, command := range []string{
		"restore disk " + top + " 0 " + dir + "/x", "restore disk " + full + " 0 " + dir + "/x --verify-digests",
		"restore start " + top, "restore start " + full + " --writable", "restore files " + top + " 0",
	} {
		code, stdout, stderr := h.CTL(hubtest.Words(command)...)
		if code != 4 || stdout != "" || !strings.Contains(stderr, image) || !strings.Contains(stderr, "--despite-damage") {
			t.Errorf("%s: %d %s %s", command, code, stdout, stderr)
		}
	}
	h.NothingServed()
	h.NoRestoreLeft(dir)
	wantDamaged(h, full, top)

	code, stdout, stderr := h.CTL("restore", "disk", top, "0", dir+"/left", "--despite-damage", "-o", "json")
	var done struct {
		Compared bool                `json:"compared"`
		Digests  bool                `json:"digests_verified"`
		Damage   []rpc.RestoreDamage `json:"damage"`
	}
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || code != 5 || !done.Compared || done.Digests || len(done.Damage) != 1 ||
		!strings.Contains(stderr, "1 file is damaged") || !strings.Contains(stderr, image) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	code, stdout, stderr = h.CTL("restore", "start", top, "--despite-damage", "-o", "json")
	var served rpc.Restore
	if err := json.Unmarshal([]byte(stdout), &served); err != nil || code != 5 || len(served.Damage) != 1 || !strings.Contains(stderr, image) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	h.Steps(hubtest.Step(hubtest.Words("restore stop "+served.RestoreID), 0, "ended", ""))

	hubtest.Must(t, os.Rename(image+".whole", image))
	h.Steps(
		hubtest.Step(hubtest.Words("restore start "+top), 4, "", "found damaged"), // until it is verified
		hubtest.Step(hubtest.Words("backup verify "+full), 0, "result:  ok", ""),
		hubtest.Step(hubtest.Words("backup list --damaged"), 0, "BACKUP", "no such backups"),
		hubtest.Step(hubtest.Words("restore disk "+top+" 0 "+dir+"/whole --verify-digests"), 0, "compared with the restore point; the restore point matches its digests", "disk 0"),
	)
	hubtest.FlipAt(t, image, dataIn(t, image))
	h.Steps(
		hubtest.Step(hubtest.Words("restore disk "+top+" 0 "+dir+"/unread"), 0, "compared with the restore point\n", "disk 0"), // which claims no more
		hubtest.Step(hubtest.Words("restore disk "+top+" 0 "+dir+"/read --verify-digests"), 4, "", "is not what was written"),
	)
	wantDamaged(h, full, top)
	h.NothingServed()
}

// dataIn is a place in an image that holds the guest's data.
func dataIn(t *testing.T, image string) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "map", "-f", "qcow2", "--output=json", image).Output()
	hubtest.Must(t, err)
	var extents []struct {
		Data   bool  `json:"data"`
		Offset int64 `json:"offset"`
	}
	hubtest.Must(t, json.Unmarshal(out, &extents))
	for _, e := range extents {
		if e.Data && e.Offset > 0 {
			return e.Offset
		}
	}
	t.Fatalf("%s holds no data", image)
	return 0
}

// wantDamaged looks that everything that is shown tells of the damage of a full backup, and of what stands on it.
func wantDamaged(h *hubtest.Hub, full, top string) {
	h.Helper()
	page := filepath.Join(h.TempDir(), "page.html")
	h.Steps(
		hubtest.Step(hubtest.Words("backup list --damaged"), 0, top, ""),
		hubtest.Step(hubtest.Words("backup list --damaged"), 0, full, ""),
		hubtest.Step(hubtest.Words("backup list"), 0, "based on damage", ""),
		hubtest.Step(hubtest.Words("backup chain pgtest1"), 0, "based on damage", ""),
		hubtest.Step(hubtest.Words("backup show "+top), 0, "damage from:", ""),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type incremental"), 1, "", "damaged"),
		hubtest.Step(hubtest.Words("backup consolidate "+top), 1, "", "damaged"),
		hubtest.Step(hubtest.Words("report --html "+page), 0, page, ""),
	)
	text, err := os.ReadFile(page)
	hubtest.Must(h.T, err)
	if n := strings.Count(string(text), `,"damaged",`); n != 2 || !strings.Contains(string(text), "its newest restore point is based on "+full+", which is damaged") {
		h.Errorf("the page tells of %d damaged restore points", n)
	}
	_, stdout, _ := h.CTL("backup", "show", top, "-o", "json")
	var b rpc.Backup
	hubtest.Must(h.T, json.Unmarshal([]byte(stdout), &b))
	if !slices.Equal(b.InheritedFrom, []string{full}) || b.Verified != nil && len(b.Verified.Damage) > 0 {
		h.Errorf("the record of %s tells of %q, %+v", top, b.InheritedFrom, b.Verified)
	}
}
