package diagnosis_test

import (
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

// TestConfinedWithinTheSandbox: the daemon's own sandbox, as it is packaged, lets it confine qemu-img and start it apart from its own
// descriptors. One that does not is told of, and qemu-img works all the same.
func TestConfinedWithinTheSandbox(t *testing.T) {
	h := hubtest.HealthyHub(t)
	within := func(leaveOut string) doctor.Report {
		t.Helper()
		r := h.DoctorWithin(t, leaveOut, "-p", "BindPaths="+h.Dir)
		h.Finds(r, doctor.OK, "features", "/usr/bin/qemu-nbd", "extended_l2")
		return r
	}
	for _, f := range within("").Findings {
		if f.Check == "qemu-img" && f.Status != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
	h.Finds(within("landlock_restrict_self"), doctor.Warning, "qemu-img", "/usr/bin/qemu-img", "landlock", "SystemCallFilter=")
	h.Finds(within("pidfd_getfd"), doctor.Warning, "qemu-img", "/usr/bin/qemu-img", "pidfd_getfd", "SystemCallFilter=")
}
