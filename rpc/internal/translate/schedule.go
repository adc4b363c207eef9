package translate

import (
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/schedule"
	"github.com/sendense/backup-agent/rpc"
)

// Groups is the answer to group.list.
func Groups(list []agent.GroupStatus, ungrouped []record.VM) rpc.GroupList {
	w := rpc.GroupList{Groups: make([]rpc.Group, 0, len(list))}
	for _, g := range list {
		w.Groups = append(w.Groups, Group(g, false))
	}
	for _, vm := range ungrouped {
		w.Ungrouped = append(w.Ungrouped, vm.Name)
	}
	return w
}

// Group is a group on the wire, with its members if they are asked for.
func Group(g agent.GroupStatus, members bool) rpc.Group {
	w := rpc.Group{GroupID: g.Config.ID, Schedules: g.Schedules, RPOSeconds: int64(g.Config.RPO.Std() / time.Second)}
	of := VMBackups(g.Backups)
	for i, m := range g.Members {
		if m.In {
			w.VMCount++
		}
		if m.In && of[i].Overdue {
			w.Overdue++
		}
		if members {
			w.Members = append(w.Members, rpc.GroupMember{VMName: m.VM.Name, In: m.In, Why: m.Why, Backups: of[i]})
		}
	}
	return w
}

// Schedules is the answer to schedule.list.
func Schedules(list []schedule.Status) rpc.ScheduleList {
	w := rpc.ScheduleList{Schedules: make([]rpc.Schedule, 0, len(list))}
	for _, s := range list {
		w.Schedules = append(w.Schedules, Schedule(s))
	}
	return w
}

// Schedule is a schedule on the wire.
func Schedule(s schedule.Status) rpc.Schedule {
	w := rpc.Schedule{
		ScheduleID: s.Config.ID, GroupIDs: s.Config.Groups, Calendar: s.Config.Calendar, TimeZone: s.Config.TimeZone, BackupType: rpc.BackupType(s.Config.Type),
		Error: s.Error, Running: runOrNil(s.Running), Last: runOrNil(s.Last),
	}
	if w.BackupType == "" {
		w.BackupType = rpc.Auto
	}
	for _, at := range s.Next {
		w.Next = append(w.Next, at.UTC())
	}
	if !s.State.PausedSince.IsZero() {
		w.Paused = &rpc.Pause{Since: s.State.PausedSince.UTC().Truncate(time.Second), Reason: s.State.Reason}
	}
	return w
}

func runOrNil(r *record.Run) *rpc.Run {
	if r == nil {
		return nil
	}
	w := Run(*r, nil)
	return &w
}

// Runs is the answer to run.list.
func Runs(list []record.Run) rpc.RunList {
	w := rpc.RunList{Runs: make([]rpc.Run, 0, len(list))}
	for _, r := range list {
		w.Runs = append(w.Runs, Run(r, nil))
	}
	return w
}

// Run is a run on the wire, with these VMs.
func Run(r record.Run, vms []record.RunVM) rpc.Run {
	w := rpc.Run{
		RunID: r.ID, ScheduleID: r.Schedule, GroupIDs: r.Groups, State: rpc.RunState(r.State), Why: r.Why, Due: r.Due.UTC(), Manual: r.Manual,
		StartedAt: r.StartedAt.UTC(), EndedAt: r.EndedAt.UTC(), WindowEnd: r.WindowEnd.UTC(), Canceling: r.Canceling && r.State == record.RunRunning,
		Warnings: r.Warnings, Counts: rpc.RunCounts(r.Counts),
	}
	for _, v := range vms {
		w.VMs = append(w.VMs, runVM(v))
	}
	return w
}

func runVM(v record.RunVM) rpc.RunVM {
	w := rpc.RunVM{VMName: v.VM, State: string(v.State), Why: v.Why, NextTry: v.NextTry.UTC(), EndedAt: v.EndedAt.UTC()}
	for _, t := range v.Tries {
		w.Tries = append(w.Tries, rpc.RunTry{
			BackupID: t.BackupID, BackupType: rpc.BackupType(t.Type), Began: t.Began.UTC(), Ended: t.Ended.UTC(), Failure: tryFailure(t), ReceivedBytes: t.Received, Free: t.Free,
		})
	}
	if first, failed := v.FirstError(); failed {
		w.FirstError = tryFailure(first)
	}
	return w
}

func tryFailure(t record.Try) *rpc.Failure {
	if t.Reason == "" {
		return nil
	}
	return &rpc.Failure{Reason: rpc.Reason(t.Reason), Message: t.Message, Hint: t.Hint}
}
