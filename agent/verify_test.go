package agent_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
)

// verify verifies a restore point and waits for the end.
func (w *world) verify(b record.Backup, deep bool) agent.VerifyReport {
	w.Helper()
	v, err := w.agent.Verify(agent.VerifyRequest{BackupID: b.ID, Deep: deep})
	must(w.TB, err)
	report, err := v.Wait(w.Context())
	must(w.TB, err)
	return report
}

// wantVerified fails the test unless a report has the result, names the files with something else than ok, and no other.
func wantVerified(t testing.TB, r agent.VerifyReport, result string, files map[string]agent.FileStatus) {
	t.Helper()
	if r.Result != result {
		t.Errorf("the result is %s, want %s: %+v", r.Result, result, r.Files)
	}
	for _, f := range r.Files {
		want, named := files[f.Path]
		if !named {
			want = agent.FileOK
		}
		if f.Status != want || (f.Status == agent.FileOK) != (f.Problem == "") {
			t.Errorf("%s is %s (%s), want %s", f.Path, f.Status, f.Problem, want)
		}
		delete(files, f.Path)
	}
	for path := range files {
		t.Errorf("%s is not in the report", path)
	}
}

// flip flips one bit of a file.
func flip(t testing.TB, path string, offset int64, bit uint) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	one := make([]byte, 1)
	_, err = f.ReadAt(one, offset)
	must(t, err)
	one[0] ^= 1 << bit
	_, err = f.WriteAt(one, offset)
	must(t, err)
}

// chain makes a full backup and two incrementals on it, of a VM with two disks.
func (w *world) chain() (points []record.Backup) {
	w.Helper()
	_, sources := w.putVM("vm", 16<<20, 8<<20)
	for i, kind := range []record.Type{record.Full, record.Incremental, record.Incremental} {
		scribble(w.TB, sources[i%2], int64(1+i)<<20)
		points = append(points, w.point("vm", kind))
	}
	return points
}

// filesOf are the files of restore points.
func filesOf(points ...record.Backup) (files []string) {
	for _, b := range points {
		files = append(files, filepath.Join(b.Directory, "manifest.json"))
	}
	return append(files, imagesOf(points...)...)
}

// TestFlippedBit: whatever bit of whatever file of a chain flips, a deep verification finds it and names the file, and no other;
// when it is put back all is well again.
func TestFlippedBit(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	top := points[2]
	wantVerified(t, w.verify(top, true), agent.VerifiedOK, nil)
	files := filesOf(points...)
	fewer(t, "25") // each reads the whole chain
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SampledFrom(files).Draw(t, "file")
		info, err := os.Stat(file)
		must(w.TB, err)
		offset := rapid.Int64Range(0, info.Size()-1).Draw(t, "offset")
		bit := rapid.UintRange(0, 7).Draw(t, "bit")
		flip(w.TB, file, offset, bit)
		defer flip(w.TB, file, offset, bit)
		want := map[string]agent.FileStatus{file: agent.FileDamaged}
		if filepath.Base(file) == "manifest.json" {
			for _, p := range points {
				for _, d := range p.Runs {
					if filepath.Dir(d.Image) == filepath.Dir(file) {
						want[d.Image] = agent.FileSkipped
					}
				}
			}
		}
		v, err := w.agent.Verify(agent.VerifyRequest{BackupID: top.ID, Deep: true})
		must(w.TB, err)
		report, err := v.Wait(context.Background())
		must(w.TB, err)
		wantVerified(w.TB, report, agent.VerifiedDamaged, want)
		if w.Failed() {
			t.Fatalf("bit %d of byte %d of %s was flipped", bit, offset, file)
		}
	})
	report := w.verify(top, true)
	wantVerified(t, report, agent.VerifiedOK, nil)
	if want := sizeOf(t, imagesOf(points...)...); report.ReadBytes != want || len(report.Files) != 9 {
		t.Errorf("%d bytes of %d files were read, want the images' %d bytes once", report.ReadBytes, len(report.Files), want)
	}
	for _, p := range points {
		if b, err := w.agent.Backup(p.ID); err != nil || len(b.Damage()) > 0 || b.Verified.DeepAt.IsZero() {
			t.Errorf("%s is on record as %+v, error %v", p.ID, b.Verified, err)
		}
	}
}

// fewer has rapid check less often, in this test.
func fewer(t *testing.T, checks string) {
	t.Helper()
	was := flag.Lookup("rapid.checks").Value.String()
	must(t, flag.Set("rapid.checks", checks))
	t.Cleanup(func() { must(t, flag.Set("rapid.checks", was)) })
}

func sizeOf(t testing.TB, files ...string) (n int64) {
	t.Helper()
	for _, file := range files {
		info, err := os.Stat(file)
		must(t, err)
		n += info.Size()
	}
	return n
}

// TestShallow: what is missing, cut short, put on something else, or contradicts itself is found without reading the data.
func TestShallow(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t testing.TB, points []record.Backup) // of disk 0
		want func(points []record.Backup) (path, problem string)
		also bool // the other images of the point are skipped
	}{
		"image missing": {
			func(t testing.TB, p []record.Backup) { must(t, os.Remove(p[0].Runs[0].Image)) },
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "is missing" }, false,
		},
		"image cut short": {
			func(t testing.TB, p []record.Backup) {
				must(t, os.Truncate(p[1].Runs[0].Image, sizeOf(t, p[1].Runs[0].Image)-1))
			},
			func(p []record.Backup) (string, string) { return p[1].Runs[0].Image, "bytes, but had" }, false,
		},
		"image stands on something else": {
			func(t testing.TB, p []record.Backup) { rebase(t, p[2].Runs[0].Image, "/etc/shadow", "raw") },
			func(p []record.Backup) (string, string) { return p[2].Runs[0].Image, "/etc/shadow" }, false,
		},
		"image is a link": {
			func(t testing.TB, p []record.Backup) {
				must(t, os.Rename(p[0].Runs[0].Image, p[0].Runs[0].Image+".away"))
				must(t, os.Symlink(p[0].Runs[0].Image+".away", p[0].Runs[0].Image))
			},
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "" }, false,
		},
		"metadata contradict themselves": {
			// The refcount table's offset, in the header, leads elsewhere.
			func(t testing.TB, p []record.Backup) { flip(t, p[0].Runs[0].Image, 54, 0) },
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "" }, false,
		},
		"manifest missing": {
			func(t testing.TB, p []record.Backup) { must(t, os.Remove(p[0].Directory+"/manifest.json")) },
			func(p []record.Backup) (string, string) { return p[0].Directory + "/manifest.json", "no manifest" }, true,
		},
		"manifest of another": {
			func(t testing.TB, p []record.Backup) {
				must(t, os.Rename(p[2].Directory+"/manifest.json", p[0].Directory+"/manifest.json"))
				must(t, os.Link(p[0].Directory+"/manifest.json", p[2].Directory+"/manifest.json"))
			},
			func(p []record.Backup) (string, string) { return p[0].Directory + "/manifest.json", p[2].ID }, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			points := w.chain()
			c.harm(t, points)
			path, problem := c.want(points)
			want := map[string]agent.FileStatus{path: agent.FileDamaged}
			if c.also {
				for _, d := range points[0].Runs {
					want[d.Image] = agent.FileSkipped
				}
			}
			report := w.verify(points[2], false)
			wantVerified(t, report, agent.VerifiedDamaged, want)
			for _, f := range report.Files {
				if f.Path == path && (!strings.Contains(f.Problem, problem) || f.Hint == "") {
					t.Errorf("the problem is %q, want the words %q; the hint is %q", f.Problem, problem, f.Hint)
				}
			}
			if report.ReadBytes != 0 {
				t.Errorf("%d bytes were read", report.ReadBytes)
			}
		})
	}
}

// TestRepositoryAway: what cannot be looked at is not damaged, and stays due.
func TestRepositoryAway(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	repo := w.config.Repositories[0].Path
	must(t, os.Rename(repo, repo+".away"))
	must(t, os.Mkdir(repo, 0o755))
	report := w.verify(points[2], true)
	must(t, os.Remove(repo))
	must(t, os.Rename(repo+".away", repo))
	if report.Result != agent.VerifiedIncomplete || !strings.Contains(report.Files[0].Problem, "is it mounted?") {
		t.Errorf("got %+v", report)
	}
	if b, err := w.agent.Backup(points[2].ID); err != nil || b.Verified != nil {
		t.Errorf("on record is %+v, error %v", b.Verified, err)
	}
	wantVerified(t, w.verify(points[2], true), agent.VerifiedOK, nil)
}

// undigest makes a manifest one of an agent that knew no digests.
func undigest(t testing.TB, b record.Backup) {
	t.Helper()
	path := filepath.Join(b.Directory, "manifest.json")
	text, err := os.ReadFile(path)
	must(t, err)
	text = regexp.MustCompile(`,\s*"digest": {[^}]*}`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`,\s*"manifest_digest": "[^"]*"`).ReplaceAll(text, nil)
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, text, 0o600))
	must(t, os.Chmod(path, 0o440))
}

// TestManifestOfAnOlderAgent: without digests the rest is verified, and what is missing is told.
func TestManifestOfAnOlderAgent(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	undigest(t, points[0])
	wantVerified(t, w.verify(points[2], false), agent.VerifiedOK, nil)
	wantVerified(t, w.verify(points[2], true), agent.VerifiedIncomplete, map[string]agent.FileStatus{
		points[0].Runs[0].Image: agent.FileUndigested, points[0].Runs[1].Image: agent.FileUndigested,
	})
	b, err := w.agent.Backup(points[0].ID)
	if err != nil || !b.Verified.Undigested || b.Verified.DeepAt.IsZero() {
		t.Errorf("on record is %+v, error %v", b.Verified, err)
	}
}

// TestDamagedIsNotBuiltUpon: what reading found is not forgotten by a look that does not read; nothing is built upon it; a restore
// is refused. A file that is put back is whole again.
func TestDamagedIsNotBuiltUpon(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	image := points[0].Runs[0].Image
	at := dataOffset(t, image)
	flip(t, image, at, 3)
	wantVerified(t, w.verify(points[2], false), agent.VerifiedOK, nil) // a bit of the data: its metadata are well
	wantVerified(t, w.verify(points[2], true), agent.VerifiedDamaged, map[string]agent.FileStatus{image: agent.FileDamaged})
	wantVerified(t, w.verify(points[2], false), agent.VerifiedDamaged, map[string]agent.FileStatus{image: agent.FileDamaged}) // as is on record
	w.wantSeries(w.scrape(), series{
		"sendense_verify_damaged_restore_points":                                       3, // with those that stand on it
		`sendense_verify_restore_points_total{depth="deep",result="damaged"}`:          1,
		`sendense_verify_restore_points_total{depth="shallow",result="damaged"}`:       1,
		`sendense_verify_last_ok{repository="main",vm="vm"}`:                           0,  // of the newest point, by what it stands on
		`sendense_backup_last_success_timestamp_seconds{repository="main",vm="vm"}`:    -1, // there is no good one
		`sendense_verify_read_bytes_total`:                                             float64(sizeOf(t, imagesOf(points...)...)),
		`sendense_verify_last_timestamp_seconds{depth="none",repository="",vm="none"}`: -1,
	})
	w.stop()
	w.start() // it is on record

	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"})
	wantError(t, err, agent.NoParent, "found damaged")
	_, err = w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: points[2].ID})
	if e := wantError(t, err, agent.Damaged, "found damaged"); !strings.Contains(e.Message, image) {
		t.Errorf("the refusal does not name %s: %s", image, e.Message)
	}
	r := w.serve(agent.RestoreRequest{BackupID: points[2].ID, DespiteDamage: true})
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], image) || len(r.Damage) != 1 || r.Damage[0].Path != image || r.Damage[0].BackupID != points[0].ID {
		t.Errorf("the restore warns of %q, %+v", r.Warnings, r.Damage)
	}
	w.stopRestore(r.ID)
	list, _, err := w.agent.Backups(agent.ListQuery{Damaged: true})
	if err != nil || len(list) != 3 || list[0].ID != points[2].ID || !slices.Equal(list[0].DamageBelow, []string{points[0].ID}) || list[2].DamageBelow != nil {
		t.Errorf("damaged are %+v, error %v", list, err)
	}
	_, err = w.agent.Consolidate(t.Context(), points[2].ID)
	wantError(t, err, agent.ImageFailed, "found damaged")

	flip(t, image, at, 3)
	wantVerified(t, w.verify(points[0], true), agent.VerifiedOK, nil)
	if b := w.point("vm", record.Auto); b.Parent != points[2].ID {
		t.Errorf("auto made a backup of type %s on %q", b.Type, b.Parent)
	}
	flip(t, image, at, 3)
	wantVerified(t, w.verify(points[0], true), agent.VerifiedDamaged, map[string]agent.FileStatus{image: agent.FileDamaged})
	if b := w.point("vm", record.Auto); b.Type != record.Full {
		t.Errorf("auto made a backup of type %s on %q", b.Type, b.Parent)
	}
}

// dataOffset is a place in an image that holds the guest's data.
func dataOffset(t testing.TB, image string) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "map", "-f", "qcow2", "--output=json", image).Output()
	must(t, err)
	at := regexp.MustCompile(`"offset": (\d+)`).FindSubmatch(out)
	if at == nil {
		t.Fatalf("%s holds no data: %s", image, out)
	}
	var n int64
	_, err = fmt.Sscan(string(at[1]), &n)
	must(t, err)
	return n
}

// TestVerifyPins: what is verified cannot be deleted, whoever waits for the result; what the schedule verifies can.
func TestVerifyPins(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	top := points[2]
	v, err := w.agent.Verify(agent.VerifyRequest{BackupID: top.ID, Deep: true, RateLimit: 8 << 20})
	must(t, err)
	same, err := w.agent.Verify(agent.VerifyRequest{BackupID: top.ID, Deep: true})
	if err != nil || same != v {
		t.Errorf("another verification of the same began: %v", err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Wait(given); err == nil {
		t.Error("somebody who gave up got a report")
	}
	wantError(t, w.delete(top.ID), agent.BeingVerified, "is being verified")
	report, err := v.Wait(t.Context())
	must(t, err)
	wantVerified(t, report, agent.VerifiedOK, nil)
	if p := v.Progress(); p.FilesDone != 9 || p.FilesTotal != 9 || p.BytesDone != report.ReadBytes || p.BytesTotal != report.ReadBytes {
		t.Errorf("at its end the progress is %+v", p)
	}
	must(t, w.delete(top.ID))
}

// TestVerifyRefused: what is no restore point is not verified, and the error says so.
func TestVerifyRefused(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	_, err := w.agent.Verify(agent.VerifyRequest{BackupID: "backup-none-1"})
	wantError(t, err, agent.BackupNotFound, "backup-none-1")
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err = w.agent.Verify(agent.VerifyRequest{BackupID: b.ID})
	wantError(t, err, agent.WrongState, "restore point")
	_, err = w.agent.Verify(agent.VerifyRequest{BackupID: b.ID, RateLimit: -1})
	wantError(t, err, agent.InvalidRequest, "rate_limit")
	w.sna.Release("copy/0")
	w.wait(b.ID)
}

// TestShallowRemembers: a look at what costs little finds nothing wrong with content, and calls no restore point well of which the
// content is known to be damaged. It stays on record until it is read again.
func TestShallowRemembers(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	image := points[0].Runs[0].Image
	at := sizeOf(t, image) - 100
	flip(t, image, at, 3)
	damaged := func() map[string]agent.FileStatus { return map[string]agent.FileStatus{image: agent.FileDamaged} }
	wantVerified(t, w.verify(points[2], true), agent.VerifiedDamaged, damaged())
	found, err := w.agent.Backup(points[0].ID)
	must(t, err)
	flip(t, image, at, 3)
	shallow := w.verify(points[2], false)
	wantVerified(t, shallow, agent.VerifiedDamaged, damaged())
	for _, f := range shallow.Files {
		if f.Path == image && (f.Problem != found.Damage()[0].Problem || !strings.Contains(f.Hint, "--deep")) {
			t.Errorf("%+v", f)
		}
	}
	if b, err := w.agent.Backup(points[0].ID); err != nil || len(b.Damage()) != 1 || b.Damage()[0].Problem != found.Damage()[0].Problem {
		t.Errorf("%+v, %v", b.Verified, err)
	}
	wantVerified(t, w.verify(points[2], true), agent.VerifiedOK, nil)
	if b, err := w.agent.Backup(points[0].ID); err != nil || len(b.Damage()) != 0 {
		t.Errorf("%+v, %v", b.Verified, err)
	}
	wantVerified(t, w.verify(points[2], false), agent.VerifiedOK, nil)
}
