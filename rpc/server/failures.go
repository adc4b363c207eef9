package server

import (
	"slices"

	"github.com/sendense/backup-agent/rpc"
)

// Groups of reasons that methods share.
var (
	ofRecords    = []rpc.Reason{rpc.ReasonStateUnwritable, rpc.ReasonShuttingDown}
	ofRepository = []rpc.Reason{
		rpc.ReasonRepositoryNotFound, rpc.ReasonRepositoryFailed, rpc.ReasonRepositoryPaused, rpc.ReasonRepositoryStuck, rpc.ReasonKeyUnavailable,
		rpc.ReasonNoSpace, rpc.ReasonSystemdFailed, rpc.ReasonProgramMissing,
	}
	ofRestorePoint = []rpc.Reason{
		rpc.ReasonBackupNotFound, rpc.ReasonWrongState, rpc.ReasonBeingRestored, rpc.ReasonBeingVerified, rpc.ReasonBusy, rpc.ReasonDamaged,
		rpc.ReasonHasChildren, rpc.ReasonImageFailed,
	}
	ofCopy = []rpc.Reason{
		rpc.ReasonExporterFailed, rpc.ReasonImageFailed, rpc.ReasonSNAUnreachable, rpc.ReasonSNARefused, rpc.ReasonSNAOutcomeUnknown,
		rpc.ReasonDeadlinePassed, rpc.ReasonClientSilent, rpc.ReasonClientGone, rpc.ReasonNoFreePort,
	}
	ofCallback = []rpc.Reason{rpc.ReasonVMNotFound, rpc.ReasonBackupNotFound, rpc.ReasonWrongState, rpc.ReasonDiskUnknown}
)

// failures are the reasons for which the methods fail, beside those of every call.
var failures = map[string][]rpc.Reason{
	rpc.MethodBackupStart: slices.Concat(ofRecords, ofRepository, ofCopy, []rpc.Reason{
		rpc.ReasonDiskIDGiven, rpc.ReasonVMNotFound, rpc.ReasonVMHasNoDisks, rpc.ReasonBackupInProgress, rpc.ReasonWrongState,
		rpc.ReasonCoolingDown, rpc.ReasonNoParent, rpc.ReasonDiskUnknown, rpc.ReasonBusy, rpc.ReasonQueueFull, rpc.ReasonNotConfigured, rpc.ReasonPasswordMissing,
	}),
	rpc.MethodBackupGet:           {rpc.ReasonBackupNotFound},
	rpc.MethodBackupList:          {rpc.ReasonVMNotFound, rpc.ReasonRepositoryNotFound},
	rpc.MethodBackupCancel:        slices.Concat(ofRecords, ofRestorePoint, []rpc.Reason{rpc.ReasonSystemdFailed}),
	rpc.MethodBackupCancelVerify:  slices.Concat(ofRecords, ofRestorePoint, []rpc.Reason{rpc.ReasonSystemdFailed}),
	rpc.MethodBackupCancelMerge:   slices.Concat(ofRecords, ofRestorePoint, []rpc.Reason{rpc.ReasonSystemdFailed}),
	rpc.MethodBackupDelete:        slices.Concat(ofRecords, ofRepository, ofRestorePoint),
	rpc.MethodBackupPrune:         slices.Concat(ofRecords, ofRepository, ofRestorePoint, []rpc.Reason{rpc.ReasonVMNotFound}),
	rpc.MethodBackupSyntheticFull: slices.Concat(ofRecords, ofRepository, ofRestorePoint, []rpc.Reason{rpc.ReasonNoParent}),
	rpc.MethodBackupConsolidate:   slices.Concat(ofRecords, ofRepository, ofRestorePoint, []rpc.Reason{rpc.ReasonNoParent}),
	rpc.MethodBackupComplete:      slices.Concat(ofRecords, ofCallback),
	rpc.MethodBackupChangeID:      slices.Concat(ofRecords, ofCallback),
	rpc.MethodBackupVerify:        slices.Concat(ofRecords, ofRepository, ofRestorePoint),
	rpc.MethodBackupChain:         slices.Concat(ofRepository, []rpc.Reason{rpc.ReasonVMNotFound, rpc.ReasonBackupNotFound, rpc.ReasonDamaged}),
	rpc.MethodBackupWatch:         {rpc.ReasonTooManyWatches, rpc.ReasonBackupNotFound, rpc.ReasonVMNotFound, rpc.ReasonShuttingDown},
	rpc.MethodVMPut:               slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonVMNotFound, rpc.ReasonBackupInProgress, rpc.ReasonWrongState}),
	rpc.MethodVMCheck:             {rpc.ReasonVMNotFound, rpc.ReasonBackupInProgress, rpc.ReasonWrongState},
	rpc.MethodVMGet:               {rpc.ReasonVMNotFound},
	rpc.MethodVMRemove:            slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonVMNotFound, rpc.ReasonBackupInProgress}),
	rpc.MethodVMDiscover: slices.Concat(ofRecords, []rpc.Reason{
		rpc.ReasonSNAUnreachable, rpc.ReasonSNARefused, rpc.ReasonSNAOutcomeUnknown, rpc.ReasonVMNotFound, rpc.ReasonBackupInProgress,
		rpc.ReasonNotConfigured, rpc.ReasonPasswordMissing,
	}),
	rpc.MethodRepositoryGet:    {rpc.ReasonRepositoryNotFound},
	rpc.MethodRepositoryPause:  slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonRepositoryNotFound, rpc.ReasonWrongState}),
	rpc.MethodRepositoryResume: slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonRepositoryNotFound, rpc.ReasonWrongState}),
	rpc.MethodRestoreStart: slices.Concat(ofRecords, ofRepository, ofRestorePoint, []rpc.Reason{
		rpc.ReasonExporterFailed, rpc.ReasonNoFreePort, rpc.ReasonReaderFailed, rpc.ReasonReaderMissing, rpc.ReasonVMNotFound,
	}),
	rpc.MethodRestoreGet:     {rpc.ReasonRestoreNotFound},
	rpc.MethodRestoreStop:    slices.Concat(ofRecords, ofRepository, []rpc.Reason{rpc.ReasonRestoreNotFound, rpc.ReasonWrongState}),
	rpc.MethodRestoreWatch:   {rpc.ReasonTooManyWatches, rpc.ReasonRestoreNotFound, rpc.ReasonVMNotFound, rpc.ReasonShuttingDown},
	rpc.MethodGroupGet:       {rpc.ReasonGroupNotFound},
	rpc.MethodScheduleList:   {rpc.ReasonScheduleNotFound},
	rpc.MethodScheduleRun:    slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonScheduleNotFound, rpc.ReasonWrongState, rpc.ReasonHookFailed}),
	rpc.MethodSchedulePause:  slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonScheduleNotFound}),
	rpc.MethodScheduleResume: slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonScheduleNotFound}),
	rpc.MethodRunGet:         {rpc.ReasonRunNotFound},
	rpc.MethodRunCancel:      slices.Concat(ofRecords, []rpc.Reason{rpc.ReasonRunNotFound, rpc.ReasonWrongState}),
	rpc.MethodExportList:     {rpc.ReasonSystemdFailed},
	rpc.MethodAgentDoctor:    {rpc.ReasonBusy, rpc.ReasonShuttingDown},
	rpc.MethodAgentLogLevel:  {rpc.ReasonWrongState},
}

// reasons lists the reasons for which the method fails, sorted.
func (m method) reasons() []rpc.Reason {
	all := append([]rpc.Reason{
		rpc.ReasonInvalidRequest, rpc.ReasonInternal, rpc.ReasonHostFailed, rpc.ReasonShuttingDown, rpc.ReasonStateUnwritable,
		rpc.ReasonBusy,
	}, failures[m.name]...)
	if m.access == operate {
		all = append(all, rpc.ReasonNotAllowed)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
