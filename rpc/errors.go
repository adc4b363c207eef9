package rpc

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Reason is the stable word for why a call failed. Programs decide by it. The message is for people.
type Reason string

// The reasons of the application.
const (
	ReasonInvalidRequest     Reason = "invalid_request"      // a parameter is missing, malformed or out of range
	ReasonDiskIDGiven        Reason = "disk_id_not_allowed"  // a start with a disk_id: a backup always holds every disk
	ReasonNotAllowed         Reason = "not_allowed"          // the caller is not allowed to call this method
	ReasonVMNotFound         Reason = "vm_not_found"         // no VM of that name is on record
	ReasonVMHasNoDisks       Reason = "vm_has_no_disks"      // the VM has no disks on record: run vm.discover, or vm.put with disks
	ReasonRepositoryNotFound Reason = "repository_not_found" // no repository of that id is configured
	ReasonBackupNotFound     Reason = "backup_not_found"     // no backup of that id is on record
	ReasonBackupInProgress   Reason = "backup_in_progress"   // the VM has an active backup
	ReasonWrongState         Reason = "wrong_state"          // the state of the backup does not allow this, or nothing is in progress
	ReasonCoolingDown        Reason = "cooling_down"         // the client of an earlier backup may still be running
	ReasonNoParent           Reason = "no_parent"            // an incremental needs a parent, and there is no restore point for that
	ReasonDiskUnknown        Reason = "disk_unknown"         // vCenter has a disk of the VM that is not on record: run vm.discover with store
	ReasonHasChildren        Reason = "has_children"         // other backups are based on it: delete those first
	ReasonRestoreNotFound    Reason = "restore_not_found"    // no restore of that id is on record
	ReasonGroupNotFound      Reason = "group_not_found"      // no group of that id is configured
	ReasonScheduleNotFound   Reason = "schedule_not_found"   // no schedule of that id is configured
	ReasonRunNotFound        Reason = "run_not_found"        // no run of that id is on record
	ReasonBeingRestored      Reason = "being_restored"       // a restore reads the restore point: stop the restore first
	ReasonBeingVerified      Reason = "being_verified"       // a verification by request reads the restore point: wait for its end, or cancel it
	ReasonDamaged            Reason = "damaged"              // the restore point is damaged: despite_damage serves what is left
	ReasonExporterFailed     Reason = "exporter_failed"      // qemu-nbd could not be started or died
	ReasonImageFailed        Reason = "image_failed"         // an image could not be created or is not as it must be
	ReasonRepositoryFailed   Reason = "repository_failed"    // the repository cannot be read or written
	ReasonHookFailed         Reason = "hook_failed"          // a hook of a scheduled run failed, and its configuration says that this counts
	ReasonKeyUnavailable     Reason = "key_unavailable"      // an encryption key is missing, unusable, or the wrong one
	ReasonPasswordMissing    Reason = "password_unavailable" // the password of a vCenter is missing, empty or unreadable
	ReasonNotConfigured      Reason = "not_configured"       // the configuration lacks what the request needs; the message names the key
	ReasonSNAUnreachable     Reason = "sna_unreachable"      // the SNA cannot be reached, and no copy was started
	ReasonSNARefused         Reason = "sna_refused"          // the SNA answered with an error; the message quotes it
	ReasonSNAOutcomeUnknown  Reason = "sna_outcome_unknown"  // the SNA did not answer: it may or may not have started the copy; backup_id names the record
	ReasonDeadlinePassed     Reason = "deadline_passed"      // a configured deadline of the backup has passed
	ReasonClientSilent       Reason = "client_silent"        // the client has not connected and reports nothing new to the SNA
	ReasonClientGone         Reason = "client_gone"          // the client ended before every disk was complete
	ReasonSystemdFailed      Reason = "systemd_failed"       // systemd or D-Bus of the hub is down, does not answer, or refuses a call
	ReasonProgramMissing     Reason = "program_missing"      // a program that the agent needs, such as qemu-img, is missing or cannot be executed
	ReasonHostFailed         Reason = "host_failed"          // the operating system of the hub refuses something: space, rights, memory, open files, time
	ReasonInternal           Reason = "internal"             // a fault in the agent: see its journal
	ReasonNoFreePort         Reason = "no_free_port"         // fewer ports are free than the VM has disks
	ReasonBusy               Reason = "busy"                 // a limit of parallel backups or exports is reached, or a merge is in progress: try again later, or start with queue
	ReasonQueueFull          Reason = "queue_full"           // the limit of queued backups is reached
	ReasonRepositoryPaused   Reason = "repository_paused"    // the repository is paused for maintenance: nothing new starts there until repository.resume
	ReasonRepositoryStuck    Reason = "repository_stuck"     // the repository does not answer: nothing new starts there until it does
	ReasonShuttingDown       Reason = "shutting_down"        // the agent is stopping: try again when it runs again
	ReasonNoSpace            Reason = "no_space"             // the repository has too little free space
	ReasonStateUnwritable    Reason = "state_unwritable"     // nothing can be recorded: the state directory is full, read-only, or fails
	ReasonReaderFailed       Reason = "reader_failed"        // the reader of single files could not be started or died
	ReasonReaderMissing      Reason = "reader_missing"       // the reader of single files is not installed: the hint names the package
)

// The reasons of the protocol itself.
const (
	ReasonParseError         Reason = "parse_error"          // the input is not JSON; the connection is closed
	ReasonMalformedMessage   Reason = "malformed_message"    // JSON, but not a JSON-RPC 2.0 request
	ReasonMethodNotFound     Reason = "method_not_found"     // there is no such method: rpc.discover lists them
	ReasonMessageTooLarge    Reason = "message_too_large"    // larger than allowed; the connection is closed
	ReasonMessageTimeout     Reason = "message_timeout"      // a message did not end in time; the connection is closed
	ReasonTooManyConnections Reason = "too_many_connections" // a limit of open connections is reached; the connection is closed
	ReasonTooManyWatches     Reason = "too_many_watches"     // the limit of watches of one connection is reached
	ReasonUnauthorized       Reason = "unauthorized"         // HTTP only: the bearer token is missing or wrong
)

// Code is the integer code of a JSON-RPC error. Each reason has one: that of the specification where there is one,
// otherwise the HTTP status × 100 plus a number: 1, 2, 3 and so on within each status.
type Code int

// The codes of the JSON-RPC 2.0 specification.
const (
	CodeParseError     Code = -32700
	CodeInvalidRequest Code = -32600
	CodeMethodNotFound Code = -32601
	CodeInvalidParams  Code = -32602
	CodeInternalError  Code = -32603
)

// A reasonRow is what is fixed about a reason. The table of docs/errors.md is made of it and of the comments of the reasons.
type reasonRow struct {
	code       Code
	httpStatus int
	where      string // what is wrong: the request, the state of a backup, the configuration, the hub, the SNA, and so on
	fix        string // what to do
}

// reasons says which code and HTTP status each reason has. Both are part of the API: never change one. A new reason gets the next
// free code of its status.
var reasons = map[Reason]reasonRow{
	ReasonParseError:         {CodeParseError, http.StatusBadRequest, "request", "Send JSON."},
	ReasonMalformedMessage:   {CodeInvalidRequest, http.StatusBadRequest, "request", "Send JSON-RPC 2.0 requests."},
	ReasonMethodNotFound:     {CodeMethodNotFound, http.StatusNotFound, "request", "Use a method of docs/rpc.md. If a newer client talks to an older agent, upgrade the agent."},
	ReasonInvalidRequest:     {CodeInvalidParams, http.StatusBadRequest, "request", "Correct the parameter that the message names."},
	ReasonInternal:           {CodeInternalError, http.StatusInternalServerError, "agent", "Read the journal of the agent, and report the fault with these lines."},
	ReasonDiskIDGiven:        {40001, http.StatusBadRequest, "request", "Start one backup for the VM, without disk_id."},
	ReasonUnauthorized:       {40101, http.StatusUnauthorized, "request", "Send the token of http.token_file as a bearer token."},
	ReasonNotAllowed:         {40301, http.StatusForbidden, "request", "Call it as root or as a member of the group of the socket."},
	ReasonVMNotFound:         {40401, http.StatusNotFound, "record", "Put the VM on record: vm discover --store, vm import or vm add. If vCenter has no such VM, correct its inventory path."},
	ReasonVMHasNoDisks:       {40402, http.StatusNotFound, "record", "Look up its disks: vm discover --store."},
	ReasonRepositoryNotFound: {40403, http.StatusNotFound, "request", "Name one of repository list."},
	ReasonBackupNotFound:     {40404, http.StatusNotFound, "request", "Name one of backup list."},
	ReasonRestoreNotFound:    {40405, http.StatusNotFound, "request", "Name one of restore list."},
	ReasonGroupNotFound:      {40406, http.StatusNotFound, "request", "Name one of group list."},
	ReasonScheduleNotFound:   {40407, http.StatusNotFound, "request", "Name one of schedule list."},
	ReasonRunNotFound:        {40408, http.StatusNotFound, "request", "Name one of run list."},
	ReasonMessageTimeout:     {40801, http.StatusRequestTimeout, "request", "Send complete messages."},
	ReasonBackupInProgress:   {40901, http.StatusConflict, "state", "Wait for the backup, or cancel it."},
	ReasonWrongState:         {40902, http.StatusConflict, "state", "Look at the state (backup show, restore show), then decide."},
	ReasonCoolingDown:        {40903, http.StatusConflict, "state", "Wait until the time in the message."},
	ReasonNoParent:           {40904, http.StatusConflict, "state", "Make a full backup, or use type auto."},
	ReasonHasChildren:        {40905, http.StatusConflict, "state", "Delete the children first, the newest first."},
	ReasonBeingRestored:      {40906, http.StatusConflict, "state", "Stop the restore, or wait for its end."},
	ReasonBeingVerified:      {40907, http.StatusConflict, "state", "Wait for the verification, or cancel it: backup cancel --verify."},
	ReasonDiskUnknown:        {40908, http.StatusConflict, "record", "Look up the disks of the VM (vm discover --store), then start again."},
	ReasonDamaged:            {40909, http.StatusConflict, "restore point", "Restore an older point, put the file back from a copy, or restore what is left with --despite-damage."},
	ReasonMessageTooLarge:    {41301, http.StatusRequestEntityTooLarge, "request", "Send less at once."},
	ReasonExporterFailed:     {50001, http.StatusInternalServerError, "hub", "Read the lines of the journal in the error, and sendensectl doctor."},
	ReasonImageFailed:        {50002, http.StatusInternalServerError, "hub", "Check the repository and its disk: sendensectl doctor."},
	ReasonRepositoryFailed:   {50003, http.StatusInternalServerError, "hub", "Check the mount and the rights of the repository: sendensectl doctor."},
	ReasonSNAUnreachable:     {50004, http.StatusInternalServerError, "SNA", "Check the tunnel, the SNA service and sna.url."},
	ReasonSNARefused:         {50005, http.StatusInternalServerError, "SNA", "Act on the words of the SNA in the message: the login of the vCenter, the datacenter, the path of the VM."},
	ReasonSNAOutcomeUnknown:  {50006, http.StatusInternalServerError, "SNA", "Wait: the backup continues if its client connects, and fails otherwise. Check the tunnel."},
	ReasonDeadlinePassed:     {50007, http.StatusInternalServerError, "SNA", "Read the log of the SNA. Raise the deadline that the message names if the work only takes longer."},
	ReasonKeyUnavailable:     {50008, http.StatusInternalServerError, "configuration", "Give the daemon the key that the message names."},
	ReasonClientSilent:       {50009, http.StatusInternalServerError, "SNA", "Read the log of the SNA: the login of the vCenter, the path of the VM, the snapshot."},
	ReasonClientGone:         {50010, http.StatusInternalServerError, "SNA", "Read the log of the SNA for the end of the client, then start again."},
	ReasonReaderFailed:       {50011, http.StatusInternalServerError, "hub", "Read the lines of the journal in the error. Other disks and whole disks can be restored nevertheless."},
	ReasonPasswordMissing:    {50012, http.StatusInternalServerError, "configuration", "Put the password into the credential that the message names, and restart the daemon."},
	ReasonNotConfigured:      {50013, http.StatusInternalServerError, "configuration", "Set the key that the message names, check with sendense-agent check-config, and restart the daemon."},
	ReasonSystemdFailed:      {50014, http.StatusInternalServerError, "hub", "Look at systemd and D-Bus: systemctl is-system-running, systemctl status dbus.service. The agent connects again by itself."},
	ReasonProgramMissing:     {50015, http.StatusInternalServerError, "hub", "Install the program that the message names, or correct its path in the configuration."},
	ReasonHostFailed:         {50016, http.StatusInternalServerError, "hub", "Act on the error of the operating system in the message; the kernel's log and sendensectl doctor say more."},
	ReasonHookFailed:         {50017, http.StatusInternalServerError, "configuration", "Look at the journal of the hook's unit, which the message quotes, and correct its command."},
	ReasonReaderMissing:      {50101, http.StatusNotImplemented, "hub", "Install the package that the hint names."},
	ReasonNoFreePort:         {50301, http.StatusServiceUnavailable, "limit", "Wait, or make the range of ports larger, here and in the tunnel."},
	ReasonShuttingDown:       {50302, http.StatusServiceUnavailable, "agent", "Try again when the agent runs again."},
	ReasonTooManyConnections: {50303, http.StatusServiceUnavailable, "limit", "Close connections that are not used."},
	ReasonTooManyWatches:     {50304, http.StatusServiceUnavailable, "limit", "Watch all backups with one watch."},
	ReasonBusy:               {50305, http.StatusServiceUnavailable, "limit", "Wait, start with --queue, or raise the limit that the hint names."},
	ReasonQueueFull:          {50306, http.StatusServiceUnavailable, "limit", "Wait, or raise limits.max_queued."},
	ReasonRepositoryPaused:   {50307, http.StatusServiceUnavailable, "state", "Wait for the end of the maintenance, or end it: repository resume."},
	ReasonRepositoryStuck:    {50308, http.StatusServiceUnavailable, "hub", "Check the disk, the server and the network of the repository."},
	ReasonNoSpace:            {50701, http.StatusInsufficientStorage, "hub", "Free space in the repository, or use another one."},
	ReasonStateUnwritable:    {50702, http.StatusInsufficientStorage, "hub", "Make the state directory writable: free space, or check its disk."},
}

// Reasons lists every reason that has a code of its own, sorted.
func Reasons() []Reason { return slices.Sorted(maps.Keys(reasons)) }

// Code is the JSON-RPC code of the reason; [CodeInternalError] for a reason that is not in the table.
func (r Reason) Code() Code {
	if e, ok := reasons[r]; ok {
		return e.code
	}
	return CodeInternalError
}

// HTTPStatus is the HTTP status of the reason; 500 for a reason that is not in the table.
func (r Reason) HTTPStatus() int {
	if e, ok := reasons[r]; ok {
		return e.httpStatus
	}
	return http.StatusInternalServerError
}

// Where says what is wrong: the request, the record of the VM, the state of a backup, a limit, the configuration, the hub, the SNA, the
// restore point, or the agent itself; "" for a reason that is not in the table.
func (r Reason) Where() string { return reasons[r].where }

// Fix says what to do; "" for a reason that is not in the table.
func (r Reason) Fix() string { return reasons[r].fix }

// Error is the error object of JSON-RPC: the agent refused the call, or it failed. Find it with errors.As and decide by
// Data.Reason.
type Error struct {
	Code    Code      `json:"code"`
	Message string    `json:"message"` // for a person; it names the object
	Data    ErrorData `json:"data"`
}

// ErrorData is the part of an [Error] for programs, and what a person can do about it.
type ErrorData struct {
	Reason     Reason   `json:"reason"`
	HTTPStatus int      `json:"http_status"`
	Hint       string   `json:"hint,omitempty"`       // what to do about it
	BackupID   string   `json:"backup_id,omitempty"`  // the backup concerned, if it is on record
	RestoreID  string   `json:"restore_id,omitempty"` // the restore concerned, if it is on record
	DiskID     *int     `json:"disk_id,omitempty"`    // the disk concerned, if it is one disk
	Unit       string   `json:"unit,omitempty"`       // the systemd unit concerned, with suffix
	Journal    []string `json:"journal,omitempty"`    // last journal lines of the unit
}

// NewError returns an Error with the code and HTTP status of the reason.
func NewError(reason Reason, message string) *Error {
	return &Error{
		Code: reason.Code(), Message: message,
		Data: ErrorData{Reason: reason, HTTPStatus: reason.HTTPStatus()},
	}
}

// AsError is the failure as the error of a call that waited for the result.
func (f *Failure) AsError() *Error {
	e := NewError(f.Reason, f.Message)
	e.Data.Hint, e.Data.DiskID, e.Data.Unit, e.Data.Journal = f.Hint, f.DiskID, f.Unit, f.Journal
	return e
}

func (e *Error) Error() string {
	if strings.TrimSpace(e.Message) == "" {
		return fmt.Sprintf("error %d without a message", e.Code)
	}
	return e.Message
}

// WithHint returns a copy of the error with a hint: what to do about it.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Data.Hint = hint
	return &c
}
