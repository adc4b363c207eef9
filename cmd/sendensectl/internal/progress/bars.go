package progress

import (
	"cmp"
	"io"
	"strconv"
	"sync"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

const (
	fewDisks = 8 // up to this number, each disk of a backup has a bar from the start; of more, only those being copied
	barScale = 10000
)

// Bars shows the progress of backups on a terminal: lines that stay, and below them, for each running backup, a bar for each
// disk and one for the whole.
type Bars struct {
	w         io.Writer
	container *mpb.Progress
	states    map[string]rpc.BackupState
	running   map[string]*backupBars
	added     int // number of backups that had bars; gives their order
	restore   func()
}

// backupBars are the bars of one backup.
type backupBars struct {
	container *mpb.Progress
	vm        string // on each bar
	first     int    // priority of the first
	total     *bar
	disks     map[int]*bar
}

// A bar is drawn by goroutines of its container, so a lock guards its text.
type bar struct {
	*mpb.Bar
	mu   sync.Mutex
	text string
}

// NewBars starts to draw on a terminal. Close must be called.
func NewBars(w io.Writer) *Bars {
	return &Bars{
		w: w, container: mpb.New(mpb.WithOutput(w)), states: map[string]rpc.BackupState{}, running: map[string]*backupBars{},
		restore: terminal.HideTyping(w),
	}
}

// Show shows an event.
func (v *Bars) Show(e rpc.Event) {
	if h := e.HeldPrune; h != nil {
		v.Say(describe.HeldPrune(*h))
	}
	if e.RepositoryID != "" {
		v.Say(describe.Pause(e))
	}
	if e.Backup == nil {
		return
	}
	b := *e.Backup
	if b.State != v.states[b.BackupID] {
		v.states[b.BackupID] = b.State
		v.Say(describe.State(b))
	}
	shown := v.running[b.BackupID]
	switch {
	case e.Progress != nil && shown == nil:
		shown = v.add(b)
		fallthrough
	case e.Progress != nil:
		shown.set(*e.Progress)
	case b.State != rpc.Running && b.State != rpc.Unresolved && shown != nil:
		shown.end(true)
		delete(v.running, b.BackupID)
	}
}

// Say prints a line above the bars.
func (v *Bars) Say(line string) { _, _ = v.container.Write([]byte(human.Safe(line) + "\n")) }

// Close leaves the bars of running backups on the screen.
func (v *Bars) Close() {
	_, _ = io.WriteString(v.w, "\r") // the terminal echoes Ctrl-C as ^C, and the container draws from the cursor
	for _, shown := range v.running {
		shown.end(false)
	}
	v.container.Wait()
	v.restore()
}

func (v *Bars) add(b rpc.Backup) *backupBars {
	s := &backupBars{container: v.container, vm: text.Snip(human.Safe(b.VMName), output.NameWidth, "…"), first: v.added * 2000, disks: map[int]*bar{}}
	v.added++
	v.running[b.BackupID] = s
	s.total = s.newBar(s.vm, 1999) // disks are numbered to 999
	return s
}

func (s *backupBars) newBar(name string, place int) *bar {
	b := &bar{}
	b.Bar = s.container.New(barScale, mpb.BarStyle(),
		mpb.BarPriority(s.first+place),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(b.read, decor.WCSyncSpaceR)))
	return b
}

func (b *bar) read(decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text
}

// set keeps the bar below full: a full one takes no more updates.
func (b *bar) set(fraction float64, text string) {
	b.mu.Lock()
	b.text = text
	b.mu.Unlock()
	b.SetCurrent(int64(max(0, min(fraction, 1-1.0/barScale)) * barScale))
}

func (s *backupBars) end(drop bool) {
	for _, b := range s.disks {
		b.Abort(drop)
	}
	s.total.Abort(drop)
}

func (s *backupBars) set(p rpc.Progress) {
	complete := 0
	for _, d := range p.Disks {
		if d.Complete {
			complete++
		}
		s.setDisk(d, len(p.Disks) <= fewDisks)
	}
	text := human.Percent(p.Fraction)
	if p.FractionUnknown {
		text = human.Size(cmp.Or(p.CopiedBytes, int64(p.ReceivedBytes))) + ", total unknown"
	}
	if len(p.Disks) > fewDisks {
		text += "  " + strconv.Itoa(complete) + " of " + strconv.Itoa(len(p.Disks)) + " disks"
	}
	text += "  " + human.Size(uint64(max(p.BytesPerSecond, 0))) + "/s"
	if left := describe.Remaining(p); left != "" {
		text += "  " + left + " left"
	}
	s.total.set(p.Fraction, text)
}

// setDisk updates the bar of a disk. If there are many disks, a disk has a bar only while it is copied.
func (s *backupBars) setDisk(d rpc.DiskProgress, always bool) {
	b := s.disks[d.DiskID]
	switch {
	case always || !d.Complete && d.Clients > 0:
		if b == nil {
			b = s.newBar(s.vm+" disk "+strconv.Itoa(d.DiskID), d.DiskID)
			s.disks[d.DiskID] = b
		}
		b.set(diskText(d))
	case b != nil:
		b.Abort(true)
		delete(s.disks, d.DiskID)
	}
}

func diskText(d rpc.DiskProgress) (fraction float64, text string) {
	copied, expected := cmp.Or(d.CopiedBytes, int64(d.ReceivedBytes)), d.ExpectedBytes
	fraction = float64(copied) / float64(max(expected, 1))
	switch {
	case d.Complete:
		return 1, "complete  " + human.Size(copied)
	case d.Clients == 0 && d.ReceivedBytes < 1<<20: // the agent's own probe sends some hundred bytes
		return 0, "waiting  " + human.Size(d.CapacityBytes)
	case expected == 0:
		return 0, human.Size(copied) + ", total unknown"
	case expected < d.CapacityBytes:
		return fraction, human.Size(copied) + " of about " + human.Size(expected)
	}
	return fraction, human.Size(copied) + " of " + human.Size(expected)
}
