package callbacks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sendense/backup-agent/rpc"
)

func invalid(format string, args ...any) error {
	return rpc.NewError(rpc.ReasonInvalidRequest, fmt.Sprintf(format, args...))
}

func (r *routes) health(context.Context, *http.Request, []byte) (any, error) {
	return map[string]string{"status": "healthy"}, nil
}

// changeIDAnswer holds only strings: SBC decodes it into a map of strings, and any other type is an error there.
type changeIDAnswer struct {
	VMName      string `json:"vm_name"`
	DiskID      string `json:"disk_id"`
	ChangeID    string `json:"change_id"`
	BackupJobID string `json:"backup_job_id"`
	Message     string `json:"message"`
}

// changeID tells SBC since which change id to copy. On any error SBC copies the whole disk, which is always right.
func (r *routes) changeID(_ context.Context, req *http.Request, _ []byte) (any, error) {
	query := req.URL.Query()
	name, id := query.Get("vm_name"), query.Get("disk_id")
	if name == "" {
		return nil, invalid("vm_name is missing")
	}
	disk, err := strconv.Atoi(id)
	if err != nil || disk < 0 {
		return nil, invalid("disk_id %.40q: want the index of a disk, from 0", id)
	}
	answer, err := r.agent.Clients.ChangeID(name, disk)
	if err != nil {
		return nil, err
	}
	return changeIDAnswer{
		VMName: answer.VMName, DiskID: strconv.Itoa(answer.DiskID), ChangeID: answer.ChangeID,
		BackupJobID: answer.BackupID, Message: answer.Message,
	}, nil
}

type completeRequest struct {
	ChangeID         string `json:"change_id"`
	DiskID           *int   `json:"disk_id"`
	BytesTransferred int64  `json:"bytes_transferred"` // SBC always sends 0
}

type completeAnswer struct {
	Status   string `json:"status"`
	BackupID string `json:"backup_id"`
	DiskID   int    `json:"disk_id"`
	ChangeID string `json:"change_id"`
	Message  string `json:"message"`
}

// complete answers when the completion is recorded. On any other answer than 200 SBC fails the backup.
func (r *routes) complete(ctx context.Context, req *http.Request, body []byte) (any, error) {
	c, err := parseComplete(body)
	if err != nil {
		return nil, err
	}
	id := req.PathValue("job_id")
	if _, err := r.agent.Clients.Complete(ctx, id, *c.DiskID, c.ChangeID); err != nil {
		return nil, err
	}
	return completeAnswer{Status: "success", BackupID: id, DiskID: *c.DiskID, ChangeID: c.ChangeID, Message: "disk recorded"}, nil
}

func parseComplete(body []byte) (completeRequest, error) {
	var c completeRequest
	if err := json.Unmarshal(body, &c); err != nil {
		return completeRequest{}, invalid("body: want {change_id, disk_id, bytes_transferred}: %v", err)
	}
	if c.DiskID == nil {
		return completeRequest{}, invalid("disk_id is missing")
	}
	return c, nil
}
