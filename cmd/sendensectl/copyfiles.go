package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// fileCopy is what was copied.
type fileCopy struct {
	BackupID    string   `json:"backup_id"`
	DiskID      int      `json:"disk_id"`
	Volume      string   `json:"volume"`
	Path        string   `json:"path"`
	Target      string   `json:"target"`
	filtered
}

// copyFiles copies a file, or a directory and all below it.
func (a *app) copyFiles(ctx context.Context, r rpc.Restore, w filesWanted, p *place) (err error) {
	answer, stream, err := rpc.AskFiles(ctx, r.FilesSocket, rpc.FilesRequest{Op: rpc.FilesRead, Volume: w.volume, Path: []byte(w.path)})
	if err != nil {
		return err
	}
	defer stream.Close()
	if answer.Entry == nil {
		return errors.New("the reader of the files does not say what it sends")
	}
	f := fileCopy{BackupID: w.backupID, DiskID: w.disk, Volume: answer.Volume, Path: string(answer.Path), Target: w.to}
	meter := a.newMeter(stream, safe(w.path), *answer.Entry)
	defer meter.view.close()
	if p == nil {
		err = f.toStream(a.stdout, meter, *answer.Entry)
	} else {
		f.Target = p.path
		defer func() { err = errors.Join(err, p.close()) }()
		err = f.toPlace(p, meter, *answer.Entry)
	}
	f.Bytes = meter.bytes
	switch {
	case err == nil || errors.Is(err, errRefused): // it is whole, whatever comes now
	case ctx.Err() != nil && p == nil:
		return fmt.Errorf("%w: what was written to the standard output is not whole", errInterrupted)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %s is as it was before", errInterrupted, f.Target)
	default:
		return err
	}
	return errors.Join(err, a.showCopy(f))
}

func (a *app) showCopy(f fileCopy) error {
	for _, note := range f.Notes {
		fmt.Fprintln(a.stderr, safe(note))
	}
	if more := f.LeftOut + f.Refused - len(f.Notes); more > 0 {
		fmt.Fprintf(a.stderr, "and %d more\n", more)
	}
	if f.Target == "-" {
		return nil // the copy is all that may stand on the standard output
	}
	return a.show(f, func(p *printer) {
		what := humanSize(f.Bytes)
		if f.Files != 1 || f.Directories+f.Links > 0 {
			what = fmt.Sprintf("%s, %s, %s", count(f.Files, "file"), count(f.Directories, "directorie"), count(f.Links, "link"))
		}
		p.line("%s of volume %s of disk %d of %s copied to %s: %s", f.Path, f.Volume, f.DiskID, f.BackupID, f.Target, what)
	})
}

// toStream writes a file as it is, and a directory as a tar archive of what may be in one.
func (f *fileCopy) toStream(w io.Writer, from io.Reader, e rpc.FileEntry) error {
	if e.Kind() != rpc.ModeDir {
		return f.whole(io.Copy(w, from))(e)
	}
	archive := tar.NewWriter(w)
	if err := f.filter(f.Path, from, newArchiveSink(archive)); err != nil && !errors.Is(err, errRefused) {
		return err
	} else if closed := archive.Close(); closed != nil {
		return closed
	} else {
		return err
	}
}

// toPlace makes a file or a directory.
func (f *fileCopy) toPlace(p *place, from io.Reader, e rpc.FileEntry) error {
	root, err := p.open()
	if err != nil {
		return err
	}
	defer root.Close()
	sink := newDirectorySink(root, copied)
	if e.Kind() != rpc.ModeDir {
		err = f.whole(sink.only(e.Mode, e.Modified, from))(e)
	} else {
		err = f.filter(f.Path, from, sink)
	}
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	return errors.Join(err, p.commit())
}

// whole looks whether as much was copied as the file holds.
func (f *fileCopy) whole(n int64, err error) func(rpc.FileEntry) error {
	f.Files = 1
	return func(e rpc.FileEntry) error {
		if err == nil && n != e.SizeBytes {
			err = fmt.Errorf("%s holds %d bytes, and %d came", f.Path, e.SizeBytes, n)
		}
		return err
	}
}

// A meter counts what comes, and shows it.
type meter struct {
	r     io.Reader
	view  gauge
	size  int64 // 0: nobody knows
	bytes int64
	told  time.Time
	every time.Duration
}

func (a *app) newMeter(r io.Reader, name string, e rpc.FileEntry) *meter {
	m := &meter{r: r, told: time.Now(), every: a.tellEvery}
	if e.Kind() == rpc.ModeRegular {
		m.size = e.SizeBytes
		m.view = newGauge(a.stderr, a.tellEvery, name, m.size)
	} else {
		m.view = newLineGauge(a.stderr, a.tellEvery, name, 0)
	}
	m.view.say("copying")
	return m
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.bytes += int64(n)
	switch {
	case m.size > 0:
		m.view.set(float64(m.bytes) / float64(m.size))
	case time.Since(m.told) > m.every:
		m.told = time.Now()
		m.view.say(humanSize(m.bytes))
	}
	return n, err
}
