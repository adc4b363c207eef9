package clienttest_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

// betweenSamples makes a disk whose data is where SBC does not read: blocks of all sizes between the five samples of each chunk.
func betweenSamples(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	agenttest.Must(t, err)
	defer f.Close()
	agenttest.Must(t, f.Truncate(agenttest.SampledBytes))
	for chunk := int64(0); chunk+agenttest.SampledChunk <= agenttest.SampledBytes; chunk += agenttest.SampledChunk {
		for i, n := range []int64{512, 4096, 64 << 10, 1 << 20} {
			data := make([]byte, n)
			_, _ = rand.Read(data)
			_, err := f.WriteAt(data, chunk+int64(i)*agenttest.SampledChunk/4+3<<20+512)
			agenttest.Must(t, err)
		}
	}
}

// TestSampledZeroes: a client that sends zeroes after it read only samples loses no data, and zeroes take no space, in every way to
// write an image.
func TestSampledZeroes(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*config.Config, *snatest.Options){
		"plain":     func(*config.Config, *snatest.Options) {},
		"limited":   func(c *config.Config, _ *snatest.Options) { c.Repositories[0].RateLimit = config.SizeOf(1 << 30) },
		"encrypted": agenttest.Encrypted("key-1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, configure)
			_, sources := w.PutVM("vm", agenttest.SampledBytes)
			for _, kind := range []record.Type{record.Full, record.Incremental} {
				betweenSamples(t, sources[0])
				c := w.CopySampledBackup(backup.Request{VMName: "vm", Type: kind, Repository: "main"}, sources[0])
				if c.Refused == 0 || c.Accepted != 0 || !c.Identical {
					t.Errorf("%s: %d requests for zeroes refused, %d accepted, identical %v", kind, c.Refused, c.Accepted, c.Identical)
				}
				// Of 100 MiB, 12 runs of 3.2 MiB hold data. An incremental also has to cover the runs of its parent.
				if c.Taken > 16<<20 {
					t.Errorf("%s: the image takes %d bytes", kind, c.Taken)
				}
				if b := w.Wait(c.Backup.ID); b.State != record.Completed {
					t.Fatalf("%s: %s: %+v", kind, b.State, b.Failure)
				}
				r := w.Restores.Serve(restore.Request{BackupID: c.Backup.ID})
				w.Restores.Compare(r, sources)
				w.Restores.Stop(r.ID)
			}
		})
	}
}

// TestZeroesAreAccepted: if the configuration says so, zeroes are accepted, and the agent's status warns. The sampling client then
// loses data of this disk.
func TestZeroesAreAccepted(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.AcceptWriteZeroes = true })
	_, sources := w.PutVM("vm", agenttest.SampledBytes)
	betweenSamples(t, sources[0])
	c := w.CopySampledBackup(backup.Request{VMName: "vm", Type: record.Full, Repository: "main"}, sources[0])
	if c.Accepted == 0 || c.Refused != 0 || c.Identical {
		t.Errorf("%d requests for zeroes accepted, %d refused, identical %v", c.Accepted, c.Refused, c.Identical)
	}
	w.Wait(c.Backup.ID)
	if got := w.Agent.Status(t.Context()).Warnings; !slices.Contains(got, agent.WarnZeroes) {
		t.Errorf("the status warns of %q", got)
	}
}

// TestNothingStandsOnAcceptedZeroes: a backup that accepted zeroes may lack data, and an incremental based on it would lack it too.
func TestNothingStandsOnAcceptedZeroes(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.AcceptWriteZeroes = true })
	_, sources := w.PutVM("vm", agenttest.SampledBytes)
	betweenSamples(t, sources[0])
	full := w.Point("vm", record.Full)
	if b := w.Point("vm", record.Incremental); b.Parent != full.ID { // its client is known to be exact
		t.Errorf("the incremental stands on %q, not on %s", b.Parent, full.ID)
	}

	w.Stop()
	w.Config.SNA.AcceptWriteZeroes = false
	w.Start()
	request := backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"}
	_, err := w.Agent.Backups.Start(t.Context(), request)
	if e := fault.From(err); err == nil || e.Reason != fault.NoParent || !strings.Contains(e.Message, "may lack data") || e.Hint == "" {
		t.Errorf("an incremental: %+v", err)
	}
	exact := w.Point("vm", record.Auto)
	if exact.Type != record.Full || !strings.Contains(exact.FullWhy, "may lack data") || !exact.ZeroesRefused {
		t.Errorf("auto made %s, as %q, refused %v", exact.Type, exact.FullWhy, exact.ZeroesRefused)
	}
	w.ComparePoint(exact, sources)
	if b := w.Point("vm", record.Incremental); b.Parent != exact.ID || !b.ZeroesRefused {
		t.Errorf("the next incremental stands on %q, not on %s, refused %v", b.Parent, exact.ID, b.ZeroesRefused)
	}
}

// TestZeroesCannotBeRefused: a QEMU that may not use the driver that refuses zeroes serves nothing, and the error says what to do.
func TestZeroesCannotBeRefused(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		// The real QEMU, asked for a driver that it does not have.
		c.NBD.QemuNBD = "/usr/local/bin/qemu-nbd-without"
		agenttest.Must(t, os.WriteFile(c.NBD.QemuNBD, []byte(`#!/bin/sh
n=$#; i=0
while [ $i -lt $n ]; do a=$1; shift; i=$((i+1)); set -- "$@" "$(printf %s "$a" | sed 's/"blkdebug"/"blkdebug-is-not-built"/g')"; done
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	})
	w.PutVM("vm", 8<<20, 8<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	e := agenttest.WantError(t, err, fault.ExporterFailed, "this QEMU cannot refuse WRITE_ZEROES")
	if e.Hint != export.RefusalHint || !strings.Contains(strings.Join(e.Journal, "\n"), "Unknown driver") {
		t.Errorf("hint %q, journal %q", e.Hint, e.Journal)
	}
	if n := len(w.SNA.State().Posts); n != 0 {
		t.Errorf("the SNA was asked %d times", n)
	}
	w.Clean()
}

// TestRestoresAcceptZeroes: a writable restore's client is no SBC, and may ask for zeroes.
func TestRestoresAcceptZeroes(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20)
	b := w.Point("vm", record.Full)
	r := w.Restores.Serve(restore.Request{BackupID: b.ID, Writable: true})
	c, err := nbd.Dial(t.Context(), net.JoinHostPort(w.Config.NBD.Host, agenttest.Itoa(int(r.Disks[0].Port))), r.Disks[0].ExportName)
	agenttest.Must(t, err)
	agenttest.Must(t, c.WriteZeroes(0, 8<<20))
	got := make([]byte, 8<<20)
	_, err = c.ReadAt(got, 0)
	agenttest.Must(t, errors.Join(err, c.Close()))
	if !bytes.Equal(got, make([]byte, len(got))) {
		t.Error("zeroes that were accepted are not read")
	}
	w.Restores.Stop(r.ID)
	w.Compare(sources[0], b.Runs[0].Image)
}
