package snatest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// machine is a VM with sources, and an export for each of its disks.
type machine struct {
	vm      snatest.VM
	content [][]byte
	exports []*export
}

// newMachine makes a VM "pgtest1" with one disk for every size.
func newMachine(t *testing.T, format string, sizes ...int64) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{vm: snatest.VM{Path: "/DC1/vm/pgtest1"}}
	for i, size := range sizes {
		source := filepath.Join(dir, fmt.Sprintf("disk%d", i))
		m.content = append(m.content, content(size))
		writeSource(t, source, m.content[i])
		m.vm.Disks = append(m.vm.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
		m.exports = append(m.exports, serveImage(t, newImage(t, format, size), format, fmt.Sprintf("pgtest1-disk%d", i)))
	}
	return m
}

func (m *machine) targets() string {
	var pairs []string
	for i, e := range m.exports {
		pairs = append(pairs, fmt.Sprintf("%d:nbd://%s/%s", m.vm.Disks[i].Key, e.address(), e.name))
	}
	return strings.Join(pairs, ",")
}

func (m *machine) request(jobID string) sna.StartRequest {
	return sna.StartRequest{
		JobID: jobID, VMName: "pgtest1", VMPath: m.vm.Path, VCenterHost: "vcenter.example", VCenterUser: "backup",
		VCenterPassword: "hunter2", NBDTargets: m.targets(), BackupType: sna.BackupFull, NBDHost: "127.0.0.1",
	}
}

// start posts a start that must succeed.
func start(ctx context.Context, t *testing.T, server *snatest.Server, request sna.StartRequest) {
	t.Helper()
	client, err := sna.New(sna.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Start(ctx, request); err != nil {
		t.Fatal(err)
	}
}

// startAsIs posts a start whose path is not escaped, as the client of the agent would do.
func startAsIs(ctx context.Context, t *testing.T, server *snatest.Server, request sna.StartRequest) {
	t.Helper()
	body, err := json.Marshal(map[string]string{
		"job_id": request.JobID, "vm_name": request.VMName, "vm_path": request.VMPath, "vcenter_host": request.VCenterHost,
		"vcenter_user": request.VCenterUser, "vcenter_password": request.VCenterPassword, "nbd_targets": request.NBDTargets,
		"nbd_host": request.NBDHost, "backup_type": request.BackupType,
	})
	if err != nil {
		t.Fatal(err)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/api/v1/backup/start", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the start is answered with %s", answer.Status)
	}
}

// finished waits for the end of a run, which must succeed.
func finished(ctx context.Context, t *testing.T, server *snatest.Server, jobID string) snatest.RunState {
	t.Helper()
	run, err := server.WaitRun(ctx, jobID)
	if err != nil {
		t.Fatal(err)
	}
	if run.Error != "" || run.OpenConnections != 0 {
		t.Fatalf("run ended with %q and %d connections open", run.Error, run.OpenConnections)
	}
	return run
}

const job1, job2 = "backup-pgtest1-1760000000", "backup-pgtest1-1760000001"
