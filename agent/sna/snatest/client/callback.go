package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// callback calls the SHA as SBC does. These calls have no time limit.
type callback struct {
	base   string // "" calls nobody
	client http.Client
}

func newCallback(base string) *callback {
	return &callback{base: base, client: http.Client{Transport: &http.Transport{}}}
}

func (c *callback) close() { c.client.CloseIdleConnections() }

func (c *callback) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	status, body, err := c.do(request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("SHA API returned status %d: %s", status, body)
	}
	return body, err
}

func (c *callback) post(ctx context.Context, path string, payload any) (int, error) {
	body, err := json.Marshal(payload)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	status, _, err := c.do(request)
	return status, err
}

func (c *callback) do(request *http.Request) (int, []byte, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }() // only read from
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, body, err
}

var (
	jobDisk    = regexp.MustCompile(`-disk(\d+)-`)
	exportDisk = regexp.MustCompile(`disk(\d+)$`)
)

// diskIndex is the disk index for the SHA: from a pattern in the job id, which then
// applies to every disk, else from the export name, else 0.
func diskIndex(jobID, export string) int {
	for _, match := range [][]string{jobDisk.FindStringSubmatch(jobID), exportDisk.FindStringSubmatch(export)} {
		if match == nil {
			continue
		}
		if index, err := strconv.Atoi(match[1]); err == nil {
			return index
		}
	}
	return 0
}

// needsFullCopy decides as SBC's NeedsFullCopy: any error, and any id of another disk,
// mean a full copy. It asks the SHA twice.
func (d *diskRun) needsFullCopy(ctx context.Context) bool {
	if d.callback.base == "" {
		return true
	}
	first, err := d.askChangeID(ctx)
	if err != nil || first == "" {
		d.log.Info("no previous change id, full copy", "error", err)
		return true
	}
	second, err := d.askChangeID(ctx)
	if err != nil {
		return true
	}
	uuid, valid := vcenter.ParseChangeID(second)
	own, _ := vcenter.ParseChangeID(d.disk.ChangeID)
	if !valid || uuid != own {
		d.log.Warn("change id mismatch, full copy", "given", second, "own", d.disk.ChangeID)
		return true
	}
	return false
}

// askChangeID asks for the change id to start from. Before the export is known, it
// asks for disk 0 whatever the disk is.
func (d *diskRun) askChangeID(ctx context.Context) (string, error) {
	path := fmt.Sprintf("/api/v1/backups/changeid?vm_name=%s&disk_id=%d",
		url.QueryEscape(vcenter.LastSegment(d.vm.Path)), diskIndex(d.request.JobID, d.export))
	if !d.request.isBackup() {
		path = fmt.Sprintf("/api/v1/replications/changeid?vm_path=%s&disk_id=disk-%d",
			url.QueryEscape(d.vm.Path), d.disk.Key)
	}
	body, err := d.callback.get(ctx, path)
	if err != nil {
		return "", err
	}
	// A value that is not a string makes the whole answer invalid.
	var answer map[string]string
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	return answer["change_id"], nil
}

// report tells the SHA that the disk is complete and waits for its 200.
func (d *diskRun) report(ctx context.Context) error {
	if err := d.pass(ctx, fmt.Sprintf("complete/%d", d.position)); err != nil {
		return err
	}
	times := d.reportTimes()
	if d.callback.base == "" || times == 0 {
		return nil
	}
	d.phase(fmt.Sprintf("reporting disk %d", d.position))
	id := diskIndex(d.request.JobID, d.export)
	if wrong, ok := d.faults.WrongIndex[d.position]; ok {
		id = wrong
	}
	path := fmt.Sprintf("/api/v1/backups/%s/complete", d.request.JobID)
	payload := map[string]any{"change_id": d.disk.ChangeID, "disk_id": id, "bytes_transferred": 0}
	if !d.request.isBackup() {
		path = fmt.Sprintf("/api/v1/replications/%s/changeid", d.request.JobID)
		payload = map[string]any{"change_id": d.disk.ChangeID, "disk_id": fmt.Sprintf("disk-%d", d.disk.Key)}
	}
	for range times {
		status, err := d.callback.post(ctx, path, payload)
		if err != nil {
			return fmt.Errorf("failed to write change id to SHA: %w", err)
		}
		d.updateDisk(d.position, func(s *DiskState) {
			s.ReportedID = id
			s.Reports = append(s.Reports, status)
		})
		if status != http.StatusOK {
			return fmt.Errorf("failed to write change id to SHA: status %d", status)
		}
	}
	return nil
}

func (d *diskRun) reportTimes() int {
	for _, silent := range d.faults.SilentDisks {
		if silent == d.position {
			return 0
		}
	}
	if d.faults.ReportTwice {
		return 2
	}
	return 1
}
