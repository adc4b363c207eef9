package crashtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// Policies of the repository. mergeMiddle keeps the newest restore point, and the first, for there is no other year.
const (
	keepNewest  = "keep_last = 1"
	mergeMiddle = "keep_last = 1\nkeep_yearly = 2\nexpired_middle = \"merge\""
)

// policy gives the repository of the next daemon a policy. Its table is the last of the configuration.
func (h *hub) policy(rules string) {
	h.Helper()
	f, err := os.OpenFile(h.run+"/config.toml", os.O_APPEND|os.O_WRONLY, 0)
	must(h.T, err)
	_, err = f.WriteString("policy = \"p\"\n[[policy]]\nid = \"p\"\n" + rules + "\n")
	must(h.T, err)
	must(h.T, f.Close())
}

// afterFulls leaves two full backups behind, the older of which is expired.
func afterFulls(c *crash) {
	c.policy(keepNewest)
	c.points.backUp(rpc.Full, rpc.Full)
}

// afterChain leaves a chain of three restore points behind, in which a disk was added before the last, so that its image stands
// on nothing.
func afterChain(rules string) func(c *crash) {
	return func(c *crash) {
		if rules != "" {
			c.policy(rules)
		}
		c.points.backUp(rpc.Full, rpc.Incremental)
		c.addDisk(c.vm)
		c.points.backUp(rpc.Incremental)
	}
}

// backUp leaves restore points behind, and changes on every disk since.
func (c pointSteps) backUp(kinds ...rpc.BackupType) {
	c.Helper()
	c.backUpOf(c.vm, kinds...)
}

func (c pointSteps) backUpOf(v *vm, kinds ...rpc.BackupType) {
	c.Helper()
	c.boot()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.put(ctx, v))
	for i, kind := range kinds {
		id := fmt.Sprintf("before-%s-%d-%d", kind, len(v.sources), i)
		_, err := c.start(ctx, rpc.StartRequest{VMName: v.record.VMName, BackupType: kind, RequestID: id})
		must(c.T, err)
		must(c.T, c.ended(ctx))
		must(c.T, c.scribble())
	}
	c.halt()
}

// addDisk gives a VM one more disk.
func (h *hub) addDisk(v *vm) {
	h.Helper()
	i := len(v.sources)
	source := filepath.Join(h.dir, fmt.Sprintf("%s-%d.raw", v.record.VMName, i))
	data := make([]byte, diskBytes)
	_, _ = rand.Read(data[:diskBytes/2])
	must(h.T, os.WriteFile(source, data, 0o600))
	h.mu.Lock()
	v.sources = append(v.sources, source)
	h.mu.Unlock()
	v.record.Disks = append(v.record.Disks, rpc.Disk{DiskID: i, UnitNumber: i, CapacityBytes: diskBytes})
	simulated := snatest.VM{Name: v.record.VMName, Path: v.record.InventoryPath}
	for i, source := range v.sources {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
	}
	must(h.T, h.sna.SetVM(simulated))
}

// pruneAll applies the policies. What it says of single restore points is as good an answer as any.
func pruneAll(ctx context.Context, c *crash) error {
	return answered(c.with(ctx, func(client *rpc.Client) error {
		plan, err := client.Prune(ctx, rpc.PruneRequest{DryRun: true})
		if err != nil {
			return err
		}
		for _, p := range plan.Points {
			if p.Action == rpc.PruneDelete || p.Action == rpc.PruneMerge {
				c.tape.mark(notice{kind: isToBeDeleted, id: p.BackupID})
			}
		}
		_, err = client.Prune(ctx, rpc.PruneRequest{})
		return err
	}))
}

func consolidateNewest(ctx context.Context, c *crash) error {
	list, err := c.backups(ctx, c.vm)
	if err != nil {
		return err
	}
	return answered(c.with(ctx, func(client *rpc.Client) error {
		_, err := client.SyntheticFull(ctx, list[0].BackupID)
		return err
	}))
}

// merges lists the directories that are to take the place of restore points, or whose place was taken.
func (h *hub) merges() (left []string, err error) {
	for _, name := range []string{".merge-*", ".old-*"} {
		list, globErr := filepath.Glob(filepath.Join(h.dir, "repository", "*", name))
		left, err = append(left, list...), errors.Join(err, globErr)
	}
	return left, err
}

// directoryOf is where a restore point lies. If the commit of its merge was cut short, that is not yet its own directory.
func directoryOf(p repository.Found) string {
	if _, err := os.Lstat(p.Path); errors.Is(err, os.ErrNotExist) {
		return filepath.Join(filepath.Dir(p.Path), ".merge-"+filepath.Base(p.Path))
	}
	return p.Path
}

// stand fails the test unless every restore point is whole, and is what its VM was, as it lies on the disk while no daemon
// runs.
func (c pointSteps) stand() {
	c.Helper()
	points, problems, err := repository.New("main", filepath.Join(c.dir, "repository"), nil).Points()
	must(c.T, err)
	for _, p := range problems {
		c.Errorf("when it was killed: %s: %v", p.Path, p.Err)
	}
	if len(points) == 0 {
		c.Error("when it was killed there was no restore point")
	}
	for _, p := range points {
		c.mu.Lock()
		instants := c.instants[p.Manifest.BackupID]
		c.mu.Unlock()
		for i, d := range p.Manifest.Disks {
			image := filepath.Join(directoryOf(p), d.File)
			out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", instants[i], image).CombinedOutput()
			if err != nil {
				c.Errorf("when it was killed, %s was not what its disk was: %s", image, strings.TrimSpace(string(out)))
			}
		}
	}
}
