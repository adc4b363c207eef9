package translate

import (
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/rpc"
)

// DoctorReport is a report on the wire.
func DoctorReport(r doctor.Report) rpc.DoctorReport {
	w := rpc.DoctorReport{
		Version: r.Version, CheckedAt: r.CheckedAt, Status: string(r.Status), Errors: r.Errors, Warnings: r.Warnings,
		Findings: make([]rpc.Finding, 0, len(r.Findings)),
	}
	for _, f := range r.Findings {
		w.Findings = append(w.Findings, rpc.Finding{
			Check: f.Check, Object: f.Object, Status: string(f.Status), Message: f.Message, Hint: f.Hint, Facts: f.Facts,
		})
	}
	return w
}
