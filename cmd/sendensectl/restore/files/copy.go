package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/tarfilter"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// fileCopy is the result of a copy.
type fileCopy struct {
	BackupID string `json:"backup_id"`
	DiskID   int    `json:"disk_id"`
	Volume   string `json:"volume"`
	Path     string `json:"path"`
	Target   string `json:"target"`
	tarfilter.Result
}

// copyFiles copies a file, or a directory with everything in it.
func copyFiles(ctx context.Context, a *command.App, r rpc.Restore, w filesWanted, p *destination.Files) (err error) {
	answer, stream, err := guestfiles.Ask(ctx, r.FilesSocket, guestfiles.Request{Op: guestfiles.OpRead, Volume: w.volume, Path: []byte(w.path)})
	if err != nil {
		return err
	}
	defer stream.Close()
	if answer.Entry == nil {
		return errors.New("the reader sent no description of the file")
	}
	f := fileCopy{BackupID: w.backupID, DiskID: w.disk, Volume: answer.Volume, Path: string(answer.Path), Target: w.to}
	meter := newMeter(a, stream, human.Safe(w.path), *answer.Entry)
	defer meter.view.Close()
	if p == nil {
		err = f.toStream(a.Stdout, meter, *answer.Entry)
	} else {
		f.Target = p.Path
		defer func() { err = errors.Join(err, p.Close()) }()
		err = f.toDestination(p, meter, *answer.Entry)
	}
	f.Bytes = meter.bytes
	switch {
	case err == nil || errors.Is(err, tarfilter.ErrRefused): // it is complete, even if interrupted now
	case ctx.Err() != nil && p == nil:
		return fmt.Errorf("%w: the data on the standard output is incomplete", exit.ErrInterrupted)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %s is unchanged", exit.ErrInterrupted, f.Target)
	default:
		return err
	}
	return errors.Join(err, showCopy(a, f))
}

func showCopy(a *command.App, f fileCopy) error {
	for _, note := range f.Notes {
		fmt.Fprintln(a.Stderr, human.Safe(note))
	}
	if more := f.LeftOut + f.Refused - len(f.Notes); more > 0 {
		fmt.Fprintf(a.Stderr, "and %d more\n", more)
	}
	if f.Target == "-" {
		return nil // the standard output holds only the copy
	}
	return a.Show(f, func(p *output.Printer) {
		what := human.Size(f.Bytes)
		if f.Files != 1 || f.Directories+f.Links > 0 {
			what = fmt.Sprintf("%s, %s, %s", human.Count(f.Files, "file"), human.Count(f.Directories, "directory"), human.Count(f.Links, "link"))
		}
		p.Line("%s of volume %s of disk %d of %s copied to %s: %s", f.Path, f.Volume, f.DiskID, f.BackupID, f.Target, what)
	})
}

// toStream writes a file unchanged, and a directory as a filtered tar archive.
func (f *fileCopy) toStream(w io.Writer, from io.Reader, e guestfiles.Entry) error {
	if e.Kind() != guestfiles.ModeDir {
		return f.whole(io.Copy(w, from))(e)
	}
	archive := tar.NewWriter(w)
	if err := f.Filter(f.Path, from, tarfilter.NewArchive(archive)); err != nil && !errors.Is(err, tarfilter.ErrRefused) {
		return err
	} else if closed := archive.Close(); closed != nil {
		return closed
	} else {
		return err
	}
}

// toDestination writes a file or a directory.
func (f *fileCopy) toDestination(p *destination.Files, from io.Reader, e guestfiles.Entry) error {
	root, err := p.Open()
	if err != nil {
		return err
	}
	defer root.Close()
	sink := tarfilter.NewDirectory(root, destination.Copied)
	if e.Kind() != guestfiles.ModeDir {
		err = f.whole(sink.WriteFile(e.Mode, e.Modified, from))(e)
	} else {
		err = f.Filter(f.Path, from, sink)
	}
	if err != nil && !errors.Is(err, tarfilter.ErrRefused) {
		return err
	}
	return errors.Join(err, p.Commit())
}

// whole checks that the complete file was copied.
func (f *fileCopy) whole(n int64, err error) func(guestfiles.Entry) error {
	f.Files = 1
	return func(e guestfiles.Entry) error {
		if err == nil && n != e.SizeBytes {
			err = fmt.Errorf("%s has %d bytes, but %d were received", f.Path, e.SizeBytes, n)
		}
		return err
	}
}
