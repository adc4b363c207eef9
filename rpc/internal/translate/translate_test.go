package translate

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/callbacks"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// fill sets everything within v, each number and text to a different value.
func fill(v reflect.Value, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 0)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": fmt.Sprint(*n)}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic("no value for a " + v.Type().String())
	}
}

func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

// empty lists what is not set within v, except for what may be empty.
func empty(v reflect.Value, path string, but map[string]bool) (paths []string) {
	if v.IsZero() && !but[path] {
		return []string{path}
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			paths = append(paths, empty(v.Field(i), path+"."+v.Type().Field(i).Name, but)...)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			paths = append(paths, empty(v.Index(i), path, but)...)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		paths = empty(v.Elem(), path, but)
	}
	return paths
}

// TestNothingIsForgotten: no translation loses a field. From filled values every field on the wire is set.
func TestNothingIsForgotten(t *testing.T) {
	b := filled[record.Backup]()
	ofBackup := filled[events.Event]()
	ofBackup.Restore, ofBackup.Held, ofBackup.Pause, ofBackup.Imported = nil, nil, nil, nil
	ofRestore, ofPrune := ofBackup, filled[events.Event]()
	ofRestore.Restore = filled[events.Event]().Restore
	ofPause := events.Event{Kind: events.RepositoryPaused, Pause: ofPrune.Pause}
	ofImport := events.Event{Kind: events.RepositoryImported, Imported: ofPrune.Imported}
	for name, tt := range map[string]struct {
		wire any
		but  []string
	}{
		"Backup":          {wire: Backup(b), but: []string{".Progress", ".Merge", ".Stalled", ".WaitsFor", ".FutureDated"}},
		"Progress":        {wire: Progress(filled[record.Progress]())},
		"Event":           {wire: Event(1, ofBackup), but: []string{".Backup.Progress", ".Backup.Merge", ".Backup.Stalled", ".Backup.WaitsFor", ".Backup.FutureDated", ".Restore", ".HeldPrune", ".RepositoryID", ".Pause", ".Import"}},
		"RestoreEvent":    {wire: Event(1, ofRestore), but: []string{".Backup", ".HeldPrune", ".Restore.Progress", ".RepositoryID", ".Pause", ".Import"}},
		"PruneEvent":      {wire: Event(1, ofPrune), but: []string{".Backup", ".Restore", ".RepositoryID", ".Pause", ".Import"}},
		"PauseEvent":      {wire: Event(1, ofPause), but: []string{".Backup", ".Restore", ".Progress", ".Dropped", ".HeldPrune", ".Import"}},
		"ImportEvent":     {wire: Event(1, ofImport), but: []string{".Backup", ".Restore", ".Progress", ".Dropped", ".HeldPrune", ".Pause"}},
		"PauseState":      {wire: PauseState("main", ofPause.Pause, filled[agent.Activity]())},
		"WatchQuery":      {wire: WatchQuery(filled[rpc.WatchRequest]()), but: []string{".Restores", ".RestoreID", ".Prunes", ".Pauses"}}, // of restore.watch, and with no backup_id
		"Started":         {wire: Started(b), but: []string{".DiskResults.ErrorMessage"}},
		"VM":              {wire: VM(filled[record.VM]())},
		"Repository":      {wire: Repository(filled[agent.RepositoryStatus]())},
		"Exports":         {wire: Exports([]agent.Export{filled[agent.Export]()})},
		"Status":          {wire: Status(filled[agent.Status]())},
		"Discovered":      {wire: Discovered([]inventory.DiscoveredVM{filled[inventory.DiscoveredVM]()})},
		"ChangeID":        {wire: ChangeID(filled[callbacks.Answer]())},
		"BackupPage":      {wire: BackupPage([]record.Backup{b}, "next"), but: []string{".Backups.Progress", ".Backups.Merge", ".Backups.Stalled", ".Backups.WaitsFor", ".Backups.FutureDated"}},
		"VMPage":          {wire: VMPage([]record.VM{filled[record.VM]()}, "next"), but: []string{".Backups"}},                // only if they are asked for
		"VMBackups":       {wire: VMBackups([]agent.VMBackups{filled[agent.VMBackups]()}), but: []string{".IntervalSeconds"}}, // of some nanoseconds
		"Restore":         {wire: Restore(filled[record.Restore]()), but: []string{".Progress"}},
		"Restores":        {wire: Restores([]record.Restore{filled[record.Restore]()}), but: []string{".Restores.Progress"}},
		"RestoreProgress": {wire: RestoreProgress(filled[restore.Progress](), true)},
		"RestoreRequest":  {wire: RestoreRequest(filled[rpc.RestoreRequest]())},
		"ListQuery":       {wire: ListQuery(filled[rpc.BackupQuery]())},
	} {
		but := map[string]bool{}
		for _, path := range tt.but {
			but[path] = true
		}
		if paths := empty(reflect.ValueOf(tt.wire), "", but); len(paths) > 0 {
			t.Errorf("%s: not set: %q", name, paths)
		}
	}
}

// TestFutureDates: a date in the future is marked, and is not used as the date of a verification.
func TestFutureDates(t *testing.T) {
	now := time.Now()
	for _, years := range []int{0, 5} {
		at := now.AddDate(years, 0, -1)
		b := record.Backup{CreatedAt: at, Verified: &record.Verification{At: at, DeepAt: at}}
		chain := Chain("vm", []agent.ChainPoint{{Backup: b}}).Points[0]
		for _, w := range []struct {
			future   bool
			verified *rpc.Verification
		}{{Backup(b).FutureDated, Backup(b).Verified}, {chain.FutureDated, chain.Verified}} {
			if future := years > 0; w.future != future || w.verified.At.IsZero() != future || w.verified.DeepAt.IsZero() != future {
				t.Errorf("%d years ahead: %+v, %+v", years, w, w.verified)
			}
		}
	}
}

func TestVMThereAndBack(t *testing.T) {
	vm := filled[record.VM]()
	vm.AddedAt, vm.MissingSince = time.Time{}, time.Time{} // the agent's own
	if diff := cmp.Diff(vm, DomainVM(VM(vm))); diff != "" {
		t.Error(diff)
	}
}

func TestStartedStatus(t *testing.T) {
	disk := 1
	b := record.Backup{
		State:   record.Running,
		Runs:    []record.DiskRun{{DiskID: 0, PID: 42}, {DiskID: 1, PID: 43}, {DiskID: 2}},
		Failure: &record.Failure{Message: "broken", DiskID: &disk},
	}
	got := Started(b)
	want := []rpc.DiskStatus{rpc.QemuStarted, rpc.DiskFailed, rpc.PortAllocated}
	for i, d := range got.DiskResults {
		if d.Status != want[i] {
			t.Errorf("disk %d: %s, want %s", i, d.Status, want[i])
		}
	}
	if got.Status != rpc.StatusStarted || got.ErrorMessage != "broken" || got.DiskResults[1].ErrorMessage != "broken" {
		t.Errorf("%+v", got)
	}
	for _, s := range record.States {
		b.State = s
		want := rpc.StatusStarted
		if s.Terminal() || s == record.Queued {
			want = string(s)
		}
		if got := Started(b).Status; got != want {
			t.Errorf("%s: status %q, want %q", s, got, want)
		}
		if err := schema.Decode(fmt.Appendf(nil, `{"state":%q}`, s), new(rpc.BackupQuery)); err != nil {
			t.Errorf("backups cannot be listed by the state %s: %v", s, err)
		}
		if rpc.BackupState(s).Ended() != s.Terminal() {
			t.Errorf("%s: the client and the agent do not agree whether it has ended", s)
		}
	}
}

func TestErrors(t *testing.T) {
	disk := 2
	domain := &fault.Error{
		Reason: fault.NoSpace, Message: "m", Hint: "h", BackupID: "b", RestoreID: "r", DiskID: &disk, Unit: "u", Journal: []string{"j"}, Err: errors.New("cause"),
	}
	want := &rpc.Error{Code: 50701, Message: "m", Data: rpc.ErrorData{
		Reason: rpc.ReasonNoSpace, HTTPStatus: 507, Hint: "h", BackupID: "b", RestoreID: "r", DiskID: &disk, Unit: "u", Journal: []string{"j"},
	}}
	if diff := cmp.Diff(want, Error(fmt.Errorf("wrapped: %w", domain))); diff != "" {
		t.Error(diff)
	}
	if got := Error(errors.New("x")); got.Code != rpc.CodeInternalError || got.Message != "x" || got.Data.Hint == "" {
		t.Errorf("%+v", got)
	}
	if Error(nil) != nil {
		t.Error("nil is an error")
	}
	if got := Error(fmt.Errorf("x: %w", want)); got != want {
		t.Errorf("an error of the wire became %+v", got)
	}
}

// TestTwoWaysOfAnError: the answer to a call and the record say the same about an error.
func TestTwoWaysOfAnError(t *testing.T) {
	disk := 3
	e := &fault.Error{
		Reason: fault.ExporterFailed, Message: "what failed", Hint: "what to do", DiskID: &disk, Unit: "unit", Journal: []string{"line"},
	}
	told, recorded := Error(e), failure(e.Failure()).AsError()
	if diff := cmp.Diff(told, recorded); diff != "" {
		t.Errorf("-answer +record:\n%s", diff)
	}
	if gaps := empty(reflect.ValueOf(*recorded), "", map[string]bool{".Data.BackupID": true, ".Data.RestoreID": true}); len(gaps) > 0 {
		t.Errorf("lost on the way: %q", gaps)
	}
	if failure((*fault.Error)(nil).Failure()) != nil {
		t.Error("no error became a failure")
	}
}
