package files

import (
	"context"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// listing is the output as JSON.
type listing struct {
	BackupID string              `json:"backup_id"`
	DiskID   int                 `json:"disk_id"`
	Volumes  []guestfiles.Volume `json:"volumes,omitempty"`
	Volume   string              `json:"volume,omitempty"`
	Path     string              `json:"path,omitempty"`
	Entries  []listed            `json:"entries,omitempty"`
}

// listVolumes lists the volumes of the disk. If there is only one, it also lists its root directory.
func listVolumes(ctx context.Context, a *command.App, r rpc.Restore, w filesWanted) error {
	answer, _, err := guestfiles.Ask(ctx, r.FilesSocket, guestfiles.Request{Op: guestfiles.OpVolumes})
	if err != nil {
		return err
	}
	l := listing{BackupID: w.backupID, DiskID: w.disk, Volumes: answer.Volumes}
	if len(l.Volumes) == 1 && l.Volumes[0].Readable {
		answer, _, err := guestfiles.Ask(ctx, r.FilesSocket, guestfiles.Request{Op: guestfiles.OpList, Volume: l.Volumes[0].Name, Path: []byte("/")})
		if err != nil {
			return err
		}
		l.Volume, l.Path, l.Entries = answer.Volume, "/", listedOf(answer.Entries)
	}
	return a.Show(l, func(p *output.Printer) {
		var rows [][]string
		for _, v := range l.Volumes {
			rows = append(rows, []string{v.Name, v.Type, human.Size(v.SizeBytes), human.YesNo(v.Readable), v.Label})
		}
		p.Table([]output.Column{{Title: "volume"}, {Title: "type"}, {Title: "size", Rank: 1}, {Title: "readable"}, {Title: "label", Rank: 2}}, rows)
		p.None(len(rows), "the disk is empty: no partition, no logical volume and no file system was found")
		if l.Path != "" {
			p.Line("")
			printListed(p, l.Entries)
		}
	})
}

// listFiles lists a directory, or the file at the path.
func listFiles(ctx context.Context, a *command.App, r rpc.Restore, w filesWanted) error {
	answer, _, err := guestfiles.Ask(ctx, r.FilesSocket, guestfiles.Request{Op: guestfiles.OpList, Volume: w.volume, Path: []byte(w.path)})
	if err != nil {
		return err
	}
	entries := answer.Entries
	if answer.Entry != nil && answer.Entry.Kind() != guestfiles.ModeDir {
		entries = []guestfiles.Entry{*answer.Entry}
	}
	l := listing{BackupID: w.backupID, DiskID: w.disk, Volume: answer.Volume, Path: string(answer.Path), Entries: listedOf(entries)}
	return a.Show(l, func(p *output.Printer) {
		printListed(p, l.Entries)
		p.None(len(entries), "the directory is empty")
	})
}
