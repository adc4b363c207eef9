package sna

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

// The two values of StartRequest.BackupType.
const (
	BackupFull        = "full"
	BackupIncremental = "incremental"
)

// MaxJobID is the longest job id, in bytes, that SBC and the SHA's tables accept.
const MaxJobID = 64

// StartRequest is one job for the SNA. The four vCenter fields, VMPath among
// them, belong together: all are set; or the first three are empty, and the SNA
// follows the older contract and knows its vCenter itself.
type StartRequest struct {
	// JobID begins with "backup-", contains only [A-Za-z0-9._-] and no
	// "-disk<digits>-", and has at most MaxJobID bytes.
	JobID  string
	VMName string
	// VMPath is the inventory path, such as "/DC1/vm/pgtest1", without escapes: characters of a pattern are escaped on the wire.
	VMPath          string
	VCenterHost     string
	VCenterUser     string
	VCenterPassword string
	// NBDTargets is the targets string, "2000:nbd://127.0.0.1:10105/vm-disk0,...".
	NBDTargets string
	// BackupType is BackupFull or BackupIncremental.
	BackupType string
	// PreviousChangeID is disk 0's change id: set for an incremental, empty for a full.
	PreviousChangeID string
	// NBDHost is the host of the exports in the older contract; the newer one ignores it.
	NBDHost string
}

// startBody is the request on the wire. Every value is a string.
type startBody struct {
	JobID            string `json:"job_id"`
	VMName           string `json:"vm_name"`
	VMPath           string `json:"vm_path,omitempty"`
	VCenterHost      string `json:"vcenter_host,omitempty"`
	VCenterUser      string `json:"vcenter_user,omitempty"`
	VCenterPassword  string `json:"vcenter_password,omitempty"`
	NBDTargets       string `json:"nbd_targets"`
	NBDHost          string `json:"nbd_host"`
	BackupType       string `json:"backup_type"`
	PreviousChangeID string `json:"previous_change_id,omitempty"`
}

// body checks the request and encodes it.
func (r StartRequest) body() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(startBody(r.wire()))
}

func (r StartRequest) wire() startBody {
	return startBody{
		JobID:            r.JobID,
		VMName:           r.VMName,
		VMPath:           exactly(r.VMPath),
		VCenterHost:      r.VCenterHost,
		VCenterUser:      r.VCenterUser,
		VCenterPassword:  r.VCenterPassword,
		NBDTargets:       r.NBDTargets,
		NBDHost:          r.NBDHost,
		BackupType:       r.BackupType,
		PreviousChangeID: r.PreviousChangeID,
	}
}

// exactly escapes an inventory path so that SBC finds that VM and no other. SBC gives the path to govmomi's finder, which splits it at
// slashes and matches each part as a pattern of Go's path.Match, so that "web[1]" finds the VM web1. A backslash escapes a character
// there (find/recurser.go). The SNA passes the path on as one argument of a command, without a shell. The path that SBC
// uses in its questions afterwards is that of the VM, without escapes.
func exactly(path string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
	if folder, all := strings.CutSuffix(strings.TrimRight(escaped, "/"), "/..."); all { // "..." means everything below (find/finder.go, findRoot)
		return folder + `/\...`
	}
	return escaped
}

// CheckVMPath returns an error if an inventory path does not name one VM; "" is allowed. SBC reads a path that does not begin at the
// root as one below any datacenter, and "VirtualMachine:vm-42" as an id: then the same VM could also be recorded by its whole path.
func CheckVMPath(path string) error {
	if path != "" && !strings.HasPrefix(path, "/") {
		return errors.New(`want the whole path, beginning with "/", such as /DC1/vm/pgtest1`)
	}
	return nil
}

var (
	jobIDShape = regexp.MustCompile(`^backup-[A-Za-z0-9._-]+$`)
	// SBC prefers the disk index of this pattern to that of the export name, so
	// such a job would report every disk with one index.
	jobIDDisk = regexp.MustCompile(`-disk\d+-`)
)

// Validate returns an *InvalidRequestError for the first rule that the request
// breaks, or nil. Start calls it before it connects.
func (r StartRequest) Validate() error {
	for _, check := range []func() *InvalidRequestError{
		r.checkJobID, r.checkRequired, r.checkVCenter, r.checkType,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (r StartRequest) checkJobID() *InvalidRequestError {
	switch {
	case len(r.JobID) > MaxJobID:
		return invalid("job_id", "longer than 64 bytes")
	case !jobIDShape.MatchString(r.JobID):
		return invalid("job_id", `must begin with "backup-" and contain only letters, digits and "._-"`)
	case jobIDDisk.MatchString(r.JobID):
		return invalid("job_id", `contains "-disk<digits>-": the client would report every disk with that index`)
	}
	return nil
}

func (r StartRequest) checkRequired() *InvalidRequestError {
	switch {
	case r.VMName == "":
		return invalid("vm_name", "is empty")
	case r.NBDTargets == "":
		return invalid("nbd_targets", "is empty: the VM has no disks; run discovery first")
	case r.NBDHost == "":
		return invalid("nbd_host", "is empty")
	}
	return nil
}

func (r StartRequest) checkVCenter() *InvalidRequestError {
	if err := CheckVMPath(r.VMPath); err != nil {
		return invalid("vm_path", err.Error())
	}
	if r.VCenterHost == "" && r.VCenterUser == "" && r.VCenterPassword == "" {
		return nil
	}
	for _, field := range []struct{ name, value string }{
		{"vcenter_host", r.VCenterHost},
		{"vcenter_user", r.VCenterUser},
		{"vcenter_password", r.VCenterPassword},
		{"vm_path", r.VMPath},
	} {
		if field.value == "" {
			return invalid(field.name, "is empty, but a vCenter is configured: set host, user, password and inventory path, or none of them")
		}
	}
	return nil
}

func (r StartRequest) checkType() *InvalidRequestError {
	switch r.BackupType {
	case BackupFull:
		if r.PreviousChangeID != "" {
			return invalid("previous_change_id", "is set for a full backup")
		}
	case BackupIncremental:
		if r.PreviousChangeID == "" {
			return invalid("previous_change_id", "is empty for an incremental: take it from the parent restore point")
		}
	default:
		return invalid("backup_type", `must be "full" or "incremental"`)
	}
	return nil
}

func invalid(field, problem string) *InvalidRequestError {
	return &InvalidRequestError{Field: field, Problem: problem}
}
