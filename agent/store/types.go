package store

import (
	"github.com/sendense/backup-agent/agent/store/check"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Names of the packages below that callers use.
type (
	LockedError      = dbfile.LockedError
	UnwritableError  = dbfile.UnwritableError
	Recovery         = dbfile.Recovery
	NewerSchemaError = schema.NewerSchemaError
	NotFoundError    = schema.NotFoundError
	PointGroup       = schema.PointGroup
	Hold             = schema.Hold
	Query            = query.Query
	Unverified       = query.Unverified
	RunQuery         = query.RunQuery
	Counts           = query.Counts
	CoolingPort      = query.CoolingPort
	CoolingVM        = query.CoolingVM
	StrayError       = check.StrayError
)

// Why a rule refuses a change of a record.
type (
	ActiveError    = rules.ActiveError
	CoolingError   = rules.CoolingError
	ParentError    = rules.ParentError
	DamagedError   = rules.DamagedError
	PinnedError    = rules.PinnedError
	ServedError    = rules.ServedError
	MergingError   = rules.MergingError
	ReadError      = rules.ReadError
	StateError     = rules.StateError
	ImmutableError = rules.ImmutableError
	RunEndedError  = rules.RunEndedError
)

// The errors that carry nothing.
var (
	ErrDamaged   = dbfile.ErrDamaged
	ErrUnsynced  = dbfile.ErrUnsynced
	ErrBadTime   = query.ErrBadTime
	ErrBadCursor = query.ErrBadCursor
)

// The kinds of records.
const (
	KindVM      = schema.KindVM
	KindBackup  = schema.KindBackup
	KindRestore = schema.KindRestore
	KindRun     = schema.KindRun
)

// The sizes of a page.
const (
	DefaultPage = query.DefaultPage
	MaxPage     = query.MaxPage
)

// UnknownBackup is the id of a backup whose record was lost with the database.
const UnknownBackup = schema.UnknownBackup
