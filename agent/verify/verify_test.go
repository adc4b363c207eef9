package verify_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/verify"
)

// filesOf lists the files of restore points.
func filesOf(points ...record.Backup) (files []string) {
	for _, b := range points {
		files = append(files, filepath.Join(b.Directory, "manifest.json"))
	}
	return append(files, agenttest.ImagesOf(points...)...)
}

// TestFlippedBit: any bit flips in any file of a chain. A deep verification finds it and names that file only. After the bit is put
// back, the chain is ok again.
func TestFlippedBit(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	top := points[2]
	agenttest.WantVerified(t, w.Verify(top, true), record.VerifiedOK, nil)
	files := filesOf(points...)
	fewer(t, "25") // each check reads the whole chain
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SampledFrom(files).Draw(t, "file")
		info, err := os.Stat(file)
		agenttest.Must(w.TB, err)
		offset := rapid.Int64Range(0, info.Size()-1).Draw(t, "offset")
		bit := rapid.UintRange(0, 7).Draw(t, "bit")
		agenttest.Flip(w.TB, file, offset, bit)
		defer agenttest.Flip(w.TB, file, offset, bit)
		want := map[string]verify.FileStatus{file: verify.FileDamaged}
		if filepath.Base(file) == "manifest.json" {
			for _, p := range points {
				for _, d := range p.Runs {
					if filepath.Dir(d.Image) == filepath.Dir(file) {
						want[d.Image] = verify.FileSkipped
					}
				}
			}
		}
		v, err := w.Agent.Verifications.Start(verify.Request{BackupID: top.ID, Deep: true})
		agenttest.Must(w.TB, err)
		report, err := v.Wait(context.Background())
		agenttest.Must(w.TB, err)
		agenttest.WantVerified(w.TB, report, record.VerifiedDamaged, want)
		if w.Failed() {
			t.Fatalf("bit %d of byte %d of %s was flipped", bit, offset, file)
		}
	})
	report := w.Verify(top, true)
	agenttest.WantVerified(t, report, record.VerifiedOK, nil)
	if want := sizeOf(t, agenttest.ImagesOf(points...)...); report.ReadBytes != want || len(report.Files) != 9 {
		t.Errorf("%d bytes of %d files were read, want the images' %d bytes once", report.ReadBytes, len(report.Files), want)
	}
	for _, p := range points {
		if b, err := w.Agent.Records.Backup(p.ID); err != nil || len(b.Damage()) > 0 || b.Verified.DeepAt.IsZero() {
			t.Errorf("%s is on record as %+v, error %v", p.ID, b.Verified, err)
		}
	}
}

// fewer reduces the number of checks of rapid in this test.
func fewer(t *testing.T, checks string) {
	t.Helper()
	was := flag.Lookup("rapid.checks").Value.String()
	agenttest.Must(t, flag.Set("rapid.checks", checks))
	t.Cleanup(func() { agenttest.Must(t, flag.Set("rapid.checks", was)) })
}

func sizeOf(t testing.TB, files ...string) (n int64) {
	t.Helper()
	for _, file := range files {
		info, err := os.Stat(file)
		agenttest.Must(t, err)
		n += info.Size()
	}
	return n
}

// TestShallow: a verification of the metadata finds files that are missing, truncated, based on another file, or contradict themselves.
func TestShallow(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t testing.TB, points []record.Backup) // of disk 0
		want func(points []record.Backup) (path, problem string)
		also bool // the other images of the point are skipped
	}{
		"image missing": {
			func(t testing.TB, p []record.Backup) { agenttest.Must(t, os.Remove(p[0].Runs[0].Image)) },
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "is missing" }, false,
		},
		"image cut short": {
			func(t testing.TB, p []record.Backup) {
				agenttest.Must(t, os.Truncate(p[1].Runs[0].Image, sizeOf(t, p[1].Runs[0].Image)-1))
			},
			func(p []record.Backup) (string, string) { return p[1].Runs[0].Image, "bytes, but had" }, false,
		},
		"image stands on something else": {
			func(t testing.TB, p []record.Backup) { agenttest.Rebase(t, p[2].Runs[0].Image, "/etc/shadow", "raw") },
			func(p []record.Backup) (string, string) { return p[2].Runs[0].Image, "/etc/shadow" }, false,
		},
		"image is a link": {
			func(t testing.TB, p []record.Backup) {
				agenttest.Must(t, os.Rename(p[0].Runs[0].Image, p[0].Runs[0].Image+".away"))
				agenttest.Must(t, os.Symlink(p[0].Runs[0].Image+".away", p[0].Runs[0].Image))
			},
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "" }, false,
		},
		"metadata contradict themselves": {
			// The offset of the refcount table, in the header, is wrong.
			func(t testing.TB, p []record.Backup) { agenttest.Flip(t, p[0].Runs[0].Image, 54, 0) },
			func(p []record.Backup) (string, string) { return p[0].Runs[0].Image, "" }, false,
		},
		"manifest missing": {
			func(t testing.TB, p []record.Backup) { agenttest.Must(t, os.Remove(p[0].Directory+"/manifest.json")) },
			func(p []record.Backup) (string, string) { return p[0].Directory + "/manifest.json", "no manifest" }, true,
		},
		"manifest of another": {
			func(t testing.TB, p []record.Backup) {
				agenttest.Must(t, os.Rename(p[2].Directory+"/manifest.json", p[0].Directory+"/manifest.json"))
				agenttest.Must(t, os.Link(p[0].Directory+"/manifest.json", p[2].Directory+"/manifest.json"))
			},
			func(p []record.Backup) (string, string) { return p[0].Directory + "/manifest.json", p[2].ID }, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t)
			points := w.Chains.TwoDisks()
			c.harm(t, points)
			path, problem := c.want(points)
			want := map[string]verify.FileStatus{path: verify.FileDamaged}
			if c.also {
				for _, d := range points[0].Runs {
					want[d.Image] = verify.FileSkipped
				}
			}
			report := w.Verify(points[2], false)
			agenttest.WantVerified(t, report, record.VerifiedDamaged, want)
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

// TestRepositoryAway: files that cannot be read are not damaged, and their restore point stays due.
func TestRepositoryAway(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	repo := w.Config.Repositories[0].Path
	agenttest.Must(t, os.Rename(repo, repo+".away"))
	agenttest.Must(t, os.Mkdir(repo, 0o755))
	report := w.Verify(points[2], true)
	agenttest.Must(t, os.Remove(repo))
	agenttest.Must(t, os.Rename(repo+".away", repo))
	if report.Result != record.VerifiedIncomplete || !strings.Contains(report.Files[0].Problem, "is it mounted?") {
		t.Errorf("got %+v", report)
	}
	if b, err := w.Agent.Records.Backup(points[2].ID); err != nil || b.Verified != nil {
		t.Errorf("on record is %+v, error %v", b.Verified, err)
	}
	agenttest.WantVerified(t, w.Verify(points[2], true), record.VerifiedOK, nil)
}

// undigest makes a manifest as of an older agent, without digests.
func undigest(t testing.TB, b record.Backup) {
	t.Helper()
	path := filepath.Join(b.Directory, "manifest.json")
	text, err := os.ReadFile(path)
	agenttest.Must(t, err)
	text = regexp.MustCompile(`,\s*"digest": {[^}]*}`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`,\s*"manifest_digest": "[^"]*"`).ReplaceAll(text, nil)
	agenttest.Must(t, os.Chmod(path, 0o600))
	agenttest.Must(t, os.WriteFile(path, text, 0o600))
	agenttest.Must(t, os.Chmod(path, 0o440))
}

// TestManifestOfAnOlderAgent: without digests everything else is verified, and the report names what has no digest.
func TestManifestOfAnOlderAgent(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	undigest(t, points[0])
	agenttest.WantVerified(t, w.Verify(points[2], false), record.VerifiedOK, nil)
	agenttest.WantVerified(t, w.Verify(points[2], true), record.VerifiedIncomplete, map[string]verify.FileStatus{
		points[0].Runs[0].Image: verify.FileUndigested, points[0].Runs[1].Image: verify.FileUndigested,
	})
	b, err := w.Agent.Records.Backup(points[0].ID)
	if err != nil || !b.Verified.Undigested || b.Verified.DeepAt.IsZero() {
		t.Errorf("on record is %+v, error %v", b.Verified, err)
	}
}

// TestDamagedIsNotBuiltUpon: a verification of the metadata does not clear damage that a deep one found. No backup is based on it, and
// a restore is refused. A file that is put back is ok again.
func TestDamagedIsNotBuiltUpon(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	image := points[0].Runs[0].Image
	at := agenttest.DataOffset(t, image)
	agenttest.Flip(t, image, at, 3)
	agenttest.WantVerified(t, w.Verify(points[2], false), record.VerifiedOK, nil) // a bit of the data flipped: the metadata are ok
	agenttest.WantVerified(t, w.Verify(points[2], true), record.VerifiedDamaged, map[string]verify.FileStatus{image: verify.FileDamaged})
	agenttest.WantVerified(t, w.Verify(points[2], false), record.VerifiedDamaged, map[string]verify.FileStatus{image: verify.FileDamaged}) // the damage is on record
	w.WantSeries(w.Scrape(), agenttest.Series{
		"sendense_verify_damaged_restore_points":                                       3, // with those that are based on it
		`sendense_verify_restore_points_total{depth="deep",result="damaged"}`:          1,
		`sendense_verify_restore_points_total{depth="shallow",result="damaged"}`:       1,
		`sendense_verify_last_ok{repository="main",vm="vm"}`:                           0,  // of the newest restore point, by what it is based on
		`sendense_backup_last_success_timestamp_seconds{repository="main",vm="vm"}`:    -1, // no good one exists
		`sendense_verify_read_bytes_total`:                                             float64(sizeOf(t, agenttest.ImagesOf(points...)...)),
		`sendense_verify_last_timestamp_seconds{depth="none",repository="",vm="none"}`: -1,
	})
	w.Stop()
	w.Start() // the damage is on record

	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
	agenttest.WantError(t, err, fault.NoParent, "found damaged")
	_, err = w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: points[2].ID})
	if e := agenttest.WantError(t, err, fault.Damaged, "found damaged"); !strings.Contains(e.Message, image) {
		t.Errorf("the refusal does not name %s: %s", image, e.Message)
	}
	r := w.Restores.Serve(restore.Request{BackupID: points[2].ID, DespiteDamage: true})
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], image) || len(r.Damage) != 1 || r.Damage[0].Path != image || r.Damage[0].BackupID != points[0].ID {
		t.Errorf("the restore warns of %q, %+v", r.Warnings, r.Damage)
	}
	w.Restores.Stop(r.ID)
	list, _, err := w.Agent.Records.List(ledger.ListQuery{Damaged: true})
	if err != nil || len(list) != 3 || list[0].ID != points[2].ID || !slices.Equal(list[0].DamageBelow, []string{points[0].ID}) || list[2].DamageBelow != nil {
		t.Errorf("damaged are %+v, error %v", list, err)
	}
	_, err = w.Agent.Merges.SyntheticFull(t.Context(), points[2].ID)
	agenttest.WantError(t, err, fault.ImageFailed, "found damaged")

	agenttest.Flip(t, image, at, 3)
	agenttest.WantVerified(t, w.Verify(points[0], true), record.VerifiedOK, nil)
	if b := w.Point("vm", record.Auto); b.Parent != points[2].ID {
		t.Errorf("auto made a backup of type %s on %q", b.Type, b.Parent)
	}
	agenttest.Flip(t, image, at, 3)
	agenttest.WantVerified(t, w.Verify(points[0], true), record.VerifiedDamaged, map[string]verify.FileStatus{image: verify.FileDamaged})
	if b := w.Point("vm", record.Auto); b.Type != record.Full {
		t.Errorf("auto made a backup of type %s on %q", b.Type, b.Parent)
	}
}

// TestVerifyPins: a restore point cannot be deleted during a requested verification. It can during one of the schedule.
func TestVerifyPins(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	top := points[2]
	v, err := w.Agent.Verifications.Start(verify.Request{BackupID: top.ID, Deep: true, RateLimit: 8 << 20})
	agenttest.Must(t, err)
	same, err := w.Agent.Verifications.Start(verify.Request{BackupID: top.ID, Deep: true})
	if err != nil || same != v {
		t.Errorf("another verification of the same began: %v", err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Wait(given); err == nil {
		t.Error("somebody who gave up got a report")
	}
	agenttest.WantError(t, w.Delete(top.ID), fault.BeingVerified, "is being verified")
	report, err := v.Wait(t.Context())
	agenttest.Must(t, err)
	agenttest.WantVerified(t, report, record.VerifiedOK, nil)
	if p := v.Progress(); p.FilesDone != 9 || p.FilesTotal != 9 || p.BytesDone != report.ReadBytes || p.BytesTotal != report.ReadBytes {
		t.Errorf("at its end the progress is %+v", p)
	}
	agenttest.Must(t, w.Delete(top.ID))
}

// TestVerifyRefused: a backup that is not a restore point is not verified, and the error says so.
func TestVerifyRefused(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	_, err := w.Agent.Verifications.Start(verify.Request{BackupID: "backup-none-1"})
	agenttest.WantError(t, err, fault.BackupNotFound, "backup-none-1")
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err = w.Agent.Verifications.Start(verify.Request{BackupID: b.ID})
	agenttest.WantError(t, err, fault.WrongState, "restore point")
	_, err = w.Agent.Verifications.Start(verify.Request{BackupID: b.ID, RateLimit: -1})
	agenttest.WantError(t, err, fault.InvalidRequest, "rate_limit")
	w.SNA.Release("copy/0")
	w.Wait(b.ID)
}

// TestShallowRemembers: a verification of the metadata does not find damaged content, and does not call a restore point ok whose content
// is known to be damaged. The damage stays on record until a deep verification.
func TestShallowRemembers(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	image := points[0].Runs[0].Image
	at := sizeOf(t, image) - 100
	agenttest.Flip(t, image, at, 3)
	damaged := func() map[string]verify.FileStatus { return map[string]verify.FileStatus{image: verify.FileDamaged} }
	agenttest.WantVerified(t, w.Verify(points[2], true), record.VerifiedDamaged, damaged())
	found, err := w.Agent.Records.Backup(points[0].ID)
	agenttest.Must(t, err)
	agenttest.Flip(t, image, at, 3)
	shallow := w.Verify(points[2], false)
	agenttest.WantVerified(t, shallow, record.VerifiedDamaged, damaged())
	for _, f := range shallow.Files {
		if f.Path == image && (f.Problem != found.Damage()[0].Problem || !strings.Contains(f.Hint, "--deep")) {
			t.Errorf("%+v", f)
		}
	}
	if b, err := w.Agent.Records.Backup(points[0].ID); err != nil || len(b.Damage()) != 1 || b.Damage()[0].Problem != found.Damage()[0].Problem {
		t.Errorf("%+v, %v", b.Verified, err)
	}
	agenttest.WantVerified(t, w.Verify(points[2], true), record.VerifiedOK, nil)
	if b, err := w.Agent.Records.Backup(points[0].ID); err != nil || len(b.Damage()) != 0 {
		t.Errorf("%+v, %v", b.Verified, err)
	}
	agenttest.WantVerified(t, w.Verify(points[2], false), record.VerifiedOK, nil)
}
