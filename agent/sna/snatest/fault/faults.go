// Package fault is what a test can break in the simulated SNA and SBC, as values and as text, and the points at which it can stop a
// client. It breaks nothing itself: packages snatest and client read it and behave so.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Answer is how a start is answered. Except for AnswerRefuse, SBC has been started by
// then, unless Faults.Inert.
type Answer string

// The answers that a start can get.
const (
	AnswerNormal    Answer = ""
	AnswerRefuse    Answer = "refuse"      // Status and Text; no SBC
	AnswerFail      Answer = "fail-acting" // Status and Text, though SBC runs
	AnswerHang      Answer = "hang"        // nothing, until the caller disconnects
	AnswerReset     Answer = "reset"       // a TCP reset instead of an answer
	AnswerGarbage   Answer = "garbage"     // 200 and no JSON
	AnswerTruncated Answer = "truncated"   // 200 and half of the JSON
	AnswerHuge      Answer = "huge"        // 200 and 8 MiB
	AnswerWrongJob  Answer = "wrong-job"   // 200 for another job
)

// LostHandle says how long a handle stays open that an incremental copy has lost.
type LostHandle string

// The values of LostHandle.
const (
	// LostUntilCollected is what the real SBC does: the handle closes after 4 MiB
	// more were copied, which is about when Go's collector runs. After a smaller
	// copy it stays open until the process ends.
	LostUntilCollected LostHandle = ""
	LostAtOnce         LostHandle = "at-once"   // closes when it is lost
	LostUntilEnd       LostHandle = "until-end" // closes with the process, after the removal of the snapshot
)

// Faults are the ways in which SNA and SBC can misbehave. Disks are named by
// their position in VM.Disks. A run keeps the faults at the time of its POST.
type Faults struct {
	Answer Answer
	Status int    // for AnswerRefuse and AnswerFail; 500 when 0
	Text   string // for AnswerRefuse and AnswerFail
	Inert  bool   // no SBC is started, whatever is answered
	Delay  time.Duration
	Late   bool // a start is executed after Delay even if its caller has disconnected
	// CloseAtAccept closes so many of the next connections immediately.
	CloseAtAccept int
	DiscoverFails string // discovery answers 500 with this text

	LoginFails bool // SBC ends before its snapshot, without a report
	// QuiesceFails: vCenter refuses the snapshot. SBC ends, and its progress stays
	// "Creating Snapshot".
	QuiesceFails bool
	NbdkitFails  bool // SBC ends after its snapshot, which stays
	// RemoveFails: vCenter refuses to remove snapshots. SBC ends with an error
	// after its last report; its snapshot and older ones stay.
	RemoveFails bool
	TermRemoves bool          // SIGTERM removes the snapshot, see Terminate of the simulator
	LostHandle  LostHandle    // when the lost handle of an incremental copy closes
	DieInDisks  []int         // SBC is killed half way through the disk
	SilentDisks []int         // the disk is never reported complete
	ReportTwice bool          // every disk is reported complete twice
	WrongIndex  map[int]int   // disk -> the disk id that it reports
	Linger      time.Duration // stays connected that long after the last report
	BytesPerSec int64         // the copy's speed limit; 0 for none
	Pause       []string      // points to hold, see Hold of the simulator
}

// faultKinds is the text form of every fault: for the --fault flag and the fault endpoint.
var faultKinds = []struct {
	name, value, help string
	set               func(*Faults, string) error
	show              func(Faults) []string
}{
	{
		"refuse", "STATUS[:TEXT]", "answer STATUS, start no SBC",
		func(f *Faults, v string) error { return f.setRefusal(AnswerRefuse, v) },
		func(f Faults) []string { return f.showRefusal(AnswerRefuse) },
	},
	{
		"fail-acting", "STATUS[:TEXT]", "start SBC, but answer STATUS",
		func(f *Faults, v string) error { return f.setRefusal(AnswerFail, v) },
		func(f Faults) []string { return f.showRefusal(AnswerFail) },
	},
	{
		"answer", "hang|reset|garbage|truncated|huge|wrong-job", "start SBC, but answer wrongly",
		(*Faults).setAnswer, Faults.showAnswer,
	},
	{
		"inert", "", "start no SBC, whatever is answered",
		flag(func(f *Faults) *bool { return &f.Inert }), shown("inert", func(f Faults) bool { return f.Inert }),
	},
	{
		"delay", "DURATION", "wait before a start is executed",
		duration(func(f *Faults) *time.Duration { return &f.Delay }),
		func(f Faults) []string { return nonZero("delay", f.Delay) },
	},
	{
		"late", "", "execute a start after the delay even if its caller has disconnected",
		flag(func(f *Faults) *bool { return &f.Late }), shown("late", func(f Faults) bool { return f.Late }),
	},
	{
		"close-at-accept", "N", "close the next N connections immediately",
		number(func(f *Faults) *int { return &f.CloseAtAccept }),
		func(f Faults) []string { return nonZero("close-at-accept", f.CloseAtAccept) },
	},
	{
		"discover-fails", "TEXT", "answer 500 to a discovery",
		func(f *Faults, v string) error { f.DiscoverFails = v; return nil },
		func(f Faults) []string { return nonZero("discover-fails", f.DiscoverFails) },
	},
	{
		"login-fails", "", "SBC never connects",
		flag(func(f *Faults) *bool { return &f.LoginFails }), shown("login-fails", func(f Faults) bool { return f.LoginFails }),
	},
	{
		"quiesce-fails", "", "vCenter refuses the snapshot",
		flag(func(f *Faults) *bool { return &f.QuiesceFails }), shown("quiesce-fails", func(f Faults) bool { return f.QuiesceFails }),
	},
	{
		"nbdkit-fails", "", "SBC ends after its snapshot, which stays",
		flag(func(f *Faults) *bool { return &f.NbdkitFails }), shown("nbdkit-fails", func(f Faults) bool { return f.NbdkitFails }),
	},
	{
		"remove-fails", "", "vCenter refuses to remove snapshots",
		flag(func(f *Faults) *bool { return &f.RemoveFails }), shown("remove-fails", func(f Faults) bool { return f.RemoveFails }),
	},
	{
		"term-removes", "", "a SIGTERM removes the snapshot",
		flag(func(f *Faults) *bool { return &f.TermRemoves }), shown("term-removes", func(f Faults) bool { return f.TermRemoves }),
	},
	{
		"lost-handle", "at-once|until-end", "when the lost connection of an incremental copy closes", (*Faults).setLostHandle,
		func(f Faults) []string { return nonZero("lost-handle", f.LostHandle) },
	},
	{
		"die", "DISK", "SBC is killed half way through the disk",
		disk(func(f *Faults) *[]int { return &f.DieInDisks }),
		func(f Faults) []string { return each("die", f.DieInDisks) },
	},
	{
		"silent", "DISK", "the disk is never reported",
		disk(func(f *Faults) *[]int { return &f.SilentDisks }),
		func(f Faults) []string { return each("silent", f.SilentDisks) },
	},
	{
		"report-twice", "", "every disk is reported twice",
		flag(func(f *Faults) *bool { return &f.ReportTwice }), shown("report-twice", func(f Faults) bool { return f.ReportTwice }),
	},
	{"wrong-index", "DISK:ID", "the disk is reported under another id", (*Faults).setWrongIndex, Faults.showWrongIndex},
	{
		"linger", "DURATION", "stay connected after the last report",
		duration(func(f *Faults) *time.Duration { return &f.Linger }),
		func(f Faults) []string { return nonZero("linger", f.Linger) },
	},
	{
		"slow", "BYTES", "copy at most BYTES a second", (*Faults).setSlow,
		func(f Faults) []string { return nonZero("slow", f.BytesPerSec) },
	},
	{
		"pause", "POINT", "hold runs at login, snapshot, disk/N, copy/N, complete/N, disconnect/N or remove",
		func(f *Faults, v string) error { f.Pause = append(f.Pause, v); return CheckPoint(v) },
		func(f Faults) []string { return each("pause", f.Pause) },
	},
}

// ParseFaults reads faults in their text form, "die=1", "delay=3s", ...
func Parse(specs ...string) (Faults, error) {
	var faults Faults
	for _, spec := range specs {
		name, value, _ := strings.Cut(spec, "=")
		known := false
		for _, kind := range faultKinds {
			if kind.name != name {
				continue
			}
			known = true
			if (value == "") != (kind.value == "") {
				return faults, fmt.Errorf("fault %q: write %s", spec, strings.TrimSuffix(name+"="+kind.value, "="))
			}
			if err := kind.set(&faults, value); err != nil {
				return faults, fmt.Errorf("fault %q: %w", spec, err)
			}
		}
		if !known {
			return faults, fmt.Errorf("fault %q: unknown, write one of\n%s", spec, Help())
		}
	}
	return faults, nil
}

// Specs is the text form of the faults, which ParseFaults reads.
func (f Faults) Specs() []string {
	specs := []string{}
	for _, kind := range faultKinds {
		specs = append(specs, kind.show(f)...)
	}
	return specs
}

// FaultHelp lists every fault, one line each.
func Help() string {
	var b strings.Builder
	for _, kind := range faultKinds {
		fmt.Fprintf(&b, "  %-62s %s\n", strings.TrimSuffix(kind.name+"="+kind.value, "="), kind.help)
	}
	return b.String()
}

func (f *Faults) setRefusal(answer Answer, value string) error {
	status, text, _ := strings.Cut(value, ":")
	code, err := strconv.Atoi(status)
	if err != nil || code < 300 || code > 599 {
		return errors.New("the status must be 300 to 599")
	}
	f.Answer, f.Status, f.Text = answer, code, text
	return nil
}

func (f Faults) showRefusal(answer Answer) []string {
	if f.Answer != answer {
		return nil
	}
	return []string{fmt.Sprintf("%s=%d:%s", answer, f.Status, f.Text)}
}

var spoiled = []Answer{AnswerHang, AnswerReset, AnswerGarbage, AnswerTruncated, AnswerHuge, AnswerWrongJob}

func (f *Faults) setAnswer(value string) error {
	if !slices.Contains(spoiled, Answer(value)) {
		return errors.New("unknown answer")
	}
	f.Answer = Answer(value)
	return nil
}

func (f Faults) showAnswer() []string {
	if !slices.Contains(spoiled, f.Answer) {
		return nil
	}
	return []string{"answer=" + string(f.Answer)}
}

func (f *Faults) setLostHandle(value string) error {
	f.LostHandle = LostHandle(value)
	if f.LostHandle != LostAtOnce && f.LostHandle != LostUntilEnd {
		return errors.New("write at-once or until-end")
	}
	return nil
}

func (f *Faults) setWrongIndex(value string) error {
	from, to, _ := strings.Cut(value, ":")
	at, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(to)
	if err != nil {
		return err
	}
	if f.WrongIndex == nil {
		f.WrongIndex = make(map[int]int)
	}
	f.WrongIndex[at] = id
	return nil
}

func (f Faults) showWrongIndex() []string {
	var specs []string
	for _, at := range slices.Sorted(maps.Keys(f.WrongIndex)) {
		specs = append(specs, fmt.Sprintf("wrong-index=%d:%d", at, f.WrongIndex[at]))
	}
	return specs
}

func (f *Faults) setSlow(value string) (err error) {
	f.BytesPerSec, err = strconv.ParseInt(value, 10, 64)
	return err
}
