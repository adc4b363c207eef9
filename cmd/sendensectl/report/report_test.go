package report

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/rpc"
)

// bigEstate is an estate with so many VMs and days, and with all states of backups.
func bigEstate(vms, days int) *estate {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC)
	e := &estate{
		at: now, from: now.Truncate(24*time.Hour).AddDate(0, 0, 1-days), days: days, host: "hub-1.example.com", last: map[string]rpc.Backup{},
		status: rpc.AgentStatus{Version: "1.0.0", BusConnected: true},
		repositories: []rpc.Repository{
			{RepositoryID: "main", Path: "/srv/backup", FreeBytes: 21 << 40, TotalBytes: 100 << 40, RestorePoints: 4711},
			{RepositoryID: "nas", Path: "/mnt/nas/backups", FreeBytes: 3 << 40, TotalBytes: 40 << 40, RestorePoints: 12},
			{RepositoryID: "old", Path: "/mnt/old", Error: "repository old: /mnt/old: no such file or directory: mount it, or take it out of the configuration"},
		},
	}
	kinds := []string{"pg", "web", "mail", "sql-server", "files", "ldap", "build", "sap-hana"}
	for i := range vms {
		vm := rpc.VM{VMName: fmt.Sprintf("%s%02d", kinds[i%len(kinds)], i/len(kinds)+1)}
		for d := range 1 + random.IntN(4) {
			vm.Disks = append(vm.Disks, rpc.Disk{DiskID: d, CapacityBytes: int64(20+random.IntN(800)) << 30})
		}
		e.vms = append(e.vms, vm)
		e.live(random, vm, i)
	}
	e.wanted = map[string]rpc.VMBackups{}
	for _, vm := range e.vms {
		last, ok := e.last[vm.VMName]
		e.wanted[vm.VMName] = rpc.VMBackups{VMName: vm.VMName, IntervalSeconds: 36 * 3600, Overdue: !ok || e.at.Sub(last.CreatedAt) > 36*time.Hour}
	}
	e.schedule(random)
	slices.SortStableFunc(e.backups, func(a, b rpc.Backup) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return e
}

// schedule makes groups, and their runs.
func (e *estate) schedule(random *rand.Rand) {
	e.groups = []rpc.Group{
		{GroupID: "databases", VMCount: len(e.vms) / 4, Overdue: 2, RPOSeconds: 4 * 3600, Schedules: []string{"nightly", "hourly"}},
		{GroupID: "everything-else", VMCount: len(e.vms) - len(e.vms)/4, RPOSeconds: 36 * 3600, Schedules: []string{"nightly"}},
	}
	e.ungrouped = 3
	add := func(schedule string, groups []string, due time.Time) {
		r := rpc.Run{RunID: schedule + due.Format("-20060102T150405Z"), ScheduleID: schedule, GroupIDs: groups, Due: due, State: rpc.RunCompleted}
		switch r.Counts.Completed = len(e.vms); random.IntN(24) {
		case 0:
			r.State, r.Counts = rpc.RunPartial, rpc.RunCounts{Completed: len(e.vms) - 2, Failed: 2}
		case 1:
			r.State, r.Counts = rpc.RunFailed, rpc.RunCounts{Failed: len(e.vms)}
		case 2:
			r.State, r.Counts, r.Why = rpc.RunSkipped, rpc.RunCounts{}, "the run before it was still in progress"
		}
		e.runs = append([]rpc.Run{r}, e.runs...)
	}
	for d := range e.days {
		day := e.from.AddDate(0, 0, d)
		if day.Weekday() != time.Sunday {
			add("nightly", []string{"databases", "everything-else"}, day.Add(time.Hour))
		}
		for _, hour := range []int{7, 11, 15, 19} {
			if at := day.Add(time.Duration(hour) * time.Hour); at.Before(e.at) {
				add("hourly", []string{"databases"}, at)
			}
		}
	}
}

// live makes the backups of one VM: one full backup per week, incrementals between, and some failures.
func (e *estate) live(random *rand.Rand, vm rpc.VM, i int) {
	parent := fmt.Sprintf("backup-%s-1", vm.VMName)
	if i%17 == 11 {
		return // never backed up
	}
	for d := range e.days {
		if i%23 == 5 && d > e.days-5 {
			break // no longer backed up
		}
		at := e.from.AddDate(0, 0, d).Add(time.Duration(60+random.IntN(300)) * time.Minute)
		for random.IntN(24) == 0 {
			e.add(vm, at, rpc.Failed, "", random)
			at = at.Add(time.Hour)
			if random.IntN(3) == 0 {
				break
			}
		}
		switch {
		case random.IntN(40) == 0:
			e.add(vm, at, rpc.Cancelled, "", random)
		case i%29 == 3 && d == e.days-1:
			e.add(vm, at, rpc.Running, parent, random)
		case i%19 == 7 && d == e.days-1:
			e.add(vm, at, rpc.Failed, "", random)
		case (d+i)%7 == 0:
			parent = e.add(vm, at, rpc.Completed, "", random)
		default:
			parent = e.add(vm, at, rpc.Completed, parent, random)
		}
	}
}

func (e *estate) add(vm rpc.VM, at time.Time, state rpc.BackupState, parent string, random *rand.Rand) string {
	b := rpc.Backup{
		BackupID: fmt.Sprintf("backup-%s-%d", vm.VMName, at.Unix()), VMName: vm.VMName, BackupType: rpc.Full, ParentBackupID: parent, RepositoryID: "main",
		State: state, TotalBytes: describe.TotalBytes(vm), BytesTransferred: uint64(describe.TotalBytes(vm)) / 2, CreatedAt: at, EndedAt: at.Add(time.Duration(90+random.IntN(4000)) * time.Second),
	}
	if parent != "" {
		b.BackupType, b.BytesTransferred = rpc.Incremental, b.BytesTransferred/uint64(20+random.IntN(60))
	}
	if state == rpc.Failed {
		b.Failure = &rpc.Failure{
			Reason: rpc.ReasonSNARefused, Message: "SNA: 500 Internal Server Error: failed to create snapshot: VM " + vm.VMName + " has a snapshot in consolidation",
			Hint: "consolidate the VM's disks in vCenter, then start the backup again",
		}
		if random.IntN(2) == 0 {
			b.Failure = &rpc.Failure{
				Reason: rpc.ReasonExporterFailed, Message: "export " + vm.VMName + "-disk0: qemu-nbd ended with core-dump", Hint: "look at the unit's journal",
				Unit: "sendense-nbd-x.service", Journal: []string{"qemu-nbd: Failed to blk_new_open: Input/output error", "Main process exited, code=dumped, status=6/ABRT"},
			}
		}
	}
	if state == rpc.Completed {
		e.last[vm.VMName] = b
	}
	e.backups = append(e.backups, b)
	return b.BackupID
}
