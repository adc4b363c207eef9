package verify

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
)

// A verifyWalk checks the files of restore points, one after the other, and continues whatever it finds.
type verifyWalk struct {
	service  *Service
	ctx      context.Context
	deep     bool
	limit    storage.ReadLimit
	tell     func(Progress)
	progress Progress
	read     int64 // bytes
}

// count estimates how much there is to check.
func (w *verifyWalk) count(points []record.Backup) {
	for _, p := range points {
		w.progress.FilesTotal += 1 + len(p.Runs)
		repo, err := w.service.Repositories.Find(p.Repository)
		if err != nil || !w.deep {
			continue
		}
		for _, d := range p.Runs {
			if info, err := repo.Stat(w.ctx, filepath.Join(repositories.DirOf(repo, p), filepath.Base(d.Image))); err == nil {
				w.progress.BytesTotal += info.Bytes
			}
		}
	}
	w.tell(w.progress)
}

// point checks the manifest and the images of one restore point.
func (w *verifyWalk) point(p record.Backup) []FileReport {
	repo, err := w.service.Repositories.Find(p.Repository)
	if err != nil {
		f := FileReport{BackupID: p.ID, Path: p.Directory}
		f.Found(err)
		return []FileReport{f}
	}
	w.begin(filepath.Join(repositories.DirOf(repo, p), manifest.FileName))
	m, f := w.service.manifestOf(w.ctx, repo, p)
	w.end(0)
	if f.Status != FileOK {
		return append([]FileReport{f}, w.skip(repo, p, f)...)
	}
	if p.Parent != "" {
		if _, err := w.service.Records.Backup(p.Parent); fault.From(err).Has(fault.BackupNotFound) {
			f.Found(chain.Damagef("its parent %s is not on record", p.Parent))
			f.Hint = "if the parent is in the repository, run 'sendense-agent rebuild'. Without its parent this restore point cannot be restored"
		}
	}
	files := []FileReport{f}
	below := w.below(repo, p)
	for _, d := range m.Disks {
		files = append(files, w.image(repo, p, d, below))
	}
	return files
}

// skip reports the images of a restore point whose manifest cannot be read. It still finds missing images.
func (w *verifyWalk) skip(repo *storage.Repository, p record.Backup, manifest FileReport) (files []FileReport) {
	for _, d := range p.Runs {
		f := FileReport{
			BackupID: p.ID, DiskID: new(d.DiskID), Path: filepath.Join(repositories.DirOf(repo, p), filepath.Base(d.Image)),
			Status: FileSkipped, Problem: "cannot be checked without its manifest",
		}
		if info, err := repo.Stat(w.ctx, f.Path); err == nil {
			f.Bytes = info.Bytes
		} else if errors.Is(err, fs.ErrNotExist) && manifest.Status == FileDamaged {
			f.Found(chain.Damagef("is missing"))
		}
		files = append(files, f)
		w.begin(f.Path)
		w.end(f.Bytes)
	}
	return files
}

// below is the manifest of the parent; nil if there is none, or if it cannot be read, which the report on the parent tells.
func (w *verifyWalk) below(repo *storage.Repository, p record.Backup) *manifest.Manifest {
	if p.Parent == "" {
		return nil
	}
	m, err := repo.Manifest(w.ctx, nbd.DirName(p.VM.Name), p.Parent)
	if err != nil {
		return nil
	}
	return &m
}

// image checks one image: its header, its metadata, its backing file, and if deep all of its bytes.
func (w *verifyWalk) image(repo *storage.Repository, p record.Backup, d manifest.Disk, below *manifest.Manifest) FileReport {
	f := FileReport{BackupID: p.ID, DiskID: new(d.DiskID), Path: filepath.Join(repositories.DirOf(repo, p), d.File), Status: FileOK}
	w.begin(f.Path)
	defer func() { w.end(f.Bytes) }()
	info, err := repo.Stat(w.ctx, f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Found(chain.Damagef("is missing"))
		return f
	case err != nil:
		f.Found(err)
		return f
	}
	f.Bytes = info.Bytes
	if f.Found(w.service.Chains.CheckImage(w.ctx, repo, p, d)); f.Status != FileOK {
		return f
	}
	if w.deep {
		if w.compare(repo, p, d, &f); f.Status != FileOK && f.Status != FileUndigested {
			return f
		}
	}
	status := f.Status
	err = w.service.Chains.CheckContent(w.ctx, repo, p, d)
	if err == nil {
		err = chain.CheckBase(d, below)
	}
	f.Found(err)
	if f.Status == FileOK {
		f.Status = status
		w.remembered(p, &f)
	}
	return f
}

// remembered reports damage on record that only a deep verification can find, so that a verification of the metadata does not call the
// file ok.
func (w *verifyWalk) remembered(p record.Backup, f *FileReport) {
	for _, d := range p.Damage() {
		if w.deep || !d.Deep || d.File != f.file() {
			continue
		}
		f.Found(chain.Damagef("%s", d.Problem))
		f.deep = true
		f.Hint = "a deep verification found this. Restore the file from a copy, then verify with --deep"
		return
	}
}

// compare reads a whole image and compares it with its digest.
func (w *verifyWalk) compare(repo *storage.Repository, p record.Backup, d manifest.Disk, f *FileReport) {
	done := w.progress.BytesDone
	now, err := w.service.Repositories.Digest(w.ctx, repositories.Background, repo, p, d.File, repositories.ReadOptions{Limit: w.limit, Progress: func(n int64) {
		w.progress.BytesDone += n
		w.read += n
		w.service.Metrics.VerifyRead.Add(float64(n))
		w.tell(w.progress)
	}})
	w.progress.BytesDone = done
	switch {
	case err != nil:
		f.Found(chain.Finding(err))
	case d.Digest == nil:
		f.Status = FileUndigested
		f.Problem = "its manifest has no digest, because an older agent made it"
		f.Hint = "only its metadata can be checked; the next full backup has digests"
	default:
		if err := d.Digest.Compare(now); err != nil {
			f.Found(&chain.Damage{Err: err})
			f.deep = true
		}
	}
}

// begin tells which file is being checked.
func (w *verifyWalk) begin(path string) {
	w.progress.File = path
	w.tell(w.progress)
}

// end counts a file that is checked, with its size.
func (w *verifyWalk) end(bytes int64) {
	w.progress.FilesDone++
	if w.deep {
		w.progress.BytesDone += bytes
	}
	w.tell(w.progress)
}
