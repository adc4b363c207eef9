// Package config reads the agent's configuration: one TOML file whose keys are all known and whose values are all
// checked before they are used.
//
// The file default.toml, which packages install, describes every key; Default holds the same values.
package config

import (
	_ "embed"
	"log/slog"
	"time"
)

// Config is a whole configuration. Default and Load make one; the zero value is not valid.
type Config struct {
	DefaultRepository string             `toml:"default_repository"` // id used when a request names none; "" = a request must name one
	Agent             Agent              `toml:"agent"`
	NBD               NBD                `toml:"nbd"`
	SNA               SNA                `toml:"sna"`
	Deadlines         Deadlines          `toml:"deadlines"`
	Limits            Limits             `toml:"limits"`
	Restore           Restore            `toml:"restore"`
	Verify            Verify             `toml:"verify"`
	Space             Space              `toml:"space"`
	Squeeze           Squeeze            `toml:"squeeze"`
	HTTP              HTTP               `toml:"http"`
	Metrics           Metrics            `toml:"metrics"`
	Audit             Audit              `toml:"audit"`
	Discovery         Discovery          `toml:"discovery"`
	Runs              Runs               `toml:"runs"`
	Prune             Prune              `toml:"prune"`
	Repositories      []Repository       `toml:"repository"`
	Policies          []Policy           `toml:"policy"`
	Groups            []Group            `toml:"group"`
	Schedules         []Schedule         `toml:"schedule"`
	Hooks             []Hook             `toml:"hook"`
	VCenters          map[string]VCenter `toml:"vcenter"` // by the name that a VM record gives
}

// Agent is about the daemon itself.
type Agent struct {
	StateDirectory string `toml:"state_directory"` // holds the database
	Socket         string `toml:"socket"`          // path of the RPC socket; at most 107 bytes
	SocketGroup    string `toml:"socket_group"`    // may connect to the socket; "" = the daemon's own group
	Bus            string `toml:"bus"`             // BusSystem or BusUser: the systemd that starts the exporters
	ExporterUser   string `toml:"exporter_user"`   // runs what touches image data; "" = the daemon's own user
	ExporterGroup  string `toml:"exporter_group"`  // "" = the primary group of ExporterUser
	Slice          string `toml:"slice"`           // systemd slice of the exporters
	FailedImages   string `toml:"failed_images"`   // RemoveImages or SetAsideImages
	LogLevel       string `toml:"log_level"`       // debug, info, warn or error
	LogFormat      string `toml:"log_format"`      // auto, journal, json or text
}

// The values of Agent.Bus.
const (
	BusSystem = "system"
	BusUser   = "user"
)

// Level is LogLevel as log/slog knows it.
func (a Agent) Level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.LogLevel)) // Validate has refused any other word
	return level
}

// NBD is about the exports.
type NBD struct {
	Host         string   `toml:"host"`       // loopback IP address that exports listen on
	FirstPort    uint16   `toml:"first_port"` // both ends belong to the range
	LastPort     uint16   `toml:"last_port"`
	QemuNBD      string   `toml:"qemu_nbd"` // absolute path of qemu-nbd
	QemuImg      string   `toml:"qemu_img"` // absolute path of qemu-img
	Shared       int      `toml:"shared"`   // connections per export, 2 to 1024
	StartTimeout Duration `toml:"start_timeout"`
	StopTimeout  Duration `toml:"stop_timeout"` // then qemu-nbd is killed, and the backup fails
}

// SNA is about the node appliance's HTTP API.
type SNA struct {
	URL             string   `toml:"url"`
	NBDHost         string   `toml:"nbd_host"` // host under which the SNA reaches the exports
	ConnectTimeout  Duration `toml:"connect_timeout"`
	StartTimeout    Duration `toml:"start_timeout"`
	DiscoverTimeout Duration `toml:"discover_timeout"`
	Cooldown        Duration `toml:"cooldown"` // cool-down of VM and ports after a backup whose client may still be running; 0 = none

	AcceptWriteZeroes bool `toml:"accept_write_zeroes"` // exports accept WRITE_ZEROES: the client reads all that it reports as zero
}

// Deadlines end backups that make no progress.
type Deadlines struct {
	FirstConnection Duration `toml:"first_connection"` // from the SNA's answer to the first NBD client
	NoProgress      Duration `toml:"no_progress"`      // without a received byte on any export
	WholeRun        Duration `toml:"whole_run"`        // 0 = none
	Disconnect      Duration `toml:"disconnect"`       // from the last disk's completion until every client is gone
	LastQuestion    Duration `toml:"last_question"`    // from the last disk's completion until no question about another disk can come
	FirstReport     Duration `toml:"first_report"`     // SBC tells the SNA nothing before its first connection; 0 = none
	NextReport      Duration `toml:"next_report"`      // SBC tells the SNA nothing new before its first connection; 0 = none
	ClientGone      Duration `toml:"client_gone"`      // without a connection to any export, once there was one; 0 = none
}

// What happens to the images of a backup that failed after it had copied data.
const (
	RemoveImages   = "remove"
	SetAsideImages = "set_aside"
)

// Limits of what runs at the same time.
type Limits struct {
	MaxBackups int `toml:"max_backups"` // 0 = none
	MaxExports int `toml:"max_exports"` // of all backups and restores together; 0 = as many as there are ports
	MaxQueued  int `toml:"max_queued"`  // starts in the queue

	MaxRestores int `toml:"max_restores"` // restores that are served; 0 = none
}

// Restore is about serving restore points.
type Restore struct {
	Lifetime    Duration `toml:"lifetime"`     // of a restore whose request names none
	MaxLifetime Duration `toml:"max_lifetime"` // longest that a request may name; every restore ends then
	Guestfish   string   `toml:"guestfish"`    // absolute path of libguestfs's guestfish, which reads single files
	ReaderUser  string   `toml:"reader_user"`  // runs it; "" = the daemon's own user
}

// Verify is about the schedule of verifications.
type Verify struct {
	Interval     Duration `toml:"interval"`      // between two verifications of a restore point; 0 = never
	DeepInterval Duration `toml:"deep_interval"` // between two that read its images completely; 0 = never
	RateLimit    Size     `toml:"rate_limit"`    // bytes per second that all verifications in one repository together read; 0 = no limit
}

// Shortest is the shorter of the intervals; 0 if both are 0.
func (v Verify) Shortest() time.Duration {
	a, b := v.Interval.Std(), v.DeepInterval.Std()
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Space that the file system of a repository must have free.
type Space struct {
	Reserve Size `toml:"reserve"` // no backup starts with less
	Floor   Size `toml:"floor"`   // a backup that runs fails with less
}

// Squeeze is about images of incrementals, which are reduced to the blocks that differ from their parents before they are published.
type Squeeze struct {
	Enabled    bool `toml:"enabled"`
	MinPercent int  `toml:"min_percent"` // 0 to 100 of the disk: an image with less written to it is not reduced, unless the client copied the disk whole
	MinChanges int  `toml:"min_changes"` // 0 to 10000 percent of the usual changes of the disk: from there on an image is reduced as well; 0 = never
	MinSize    Size `toml:"min_size"`    // an image that takes less is not reduced
}

// HTTP is about the callbacks of the backup client.
type HTTP struct {
	Enabled   bool   `toml:"enabled"`
	Listen    string `toml:"listen"`     // loopback address and port
	TokenFile string `toml:"token_file"` // bearer token that lets HTTP clients start backups; "" = they may not
}

// Metrics is about the Prometheus endpoint.
type Metrics struct {
	Enabled       bool   `toml:"enabled"`
	Listen        string `toml:"listen"`
	WebConfigFile string `toml:"web_config_file"` // TLS and authentication, as the Prometheus exporters take it; "" = none

	MaxVMs         int      `toml:"max_vms"`         // VMs with time series of their own; 0 = none
	BackupInterval Duration `toml:"backup_interval"` // of a VM whose record names none; 0 = no backup is expected
}

// Audit is about the log of what is asked of the agent.
type Audit struct {
	Enabled bool `toml:"enabled"`
	Keep    Age  `toml:"keep"` // age of the entries that stay; 0 = all stay
}

// A Repository is a directory that backups are written to. Only these are ever written.
type Repository struct {
	ID   string `toml:"id"`   // 1 to 64 of A-Z a-z 0-9 . _ -
	Path string `toml:"path"` // absolute; not inside another repository

	RateLimit Size `toml:"rate_limit"` // per second and export, unless a request says otherwise; 0 = none

	MaxBackups int `toml:"max_backups"` // backups that run in it at the same time; 0 = none

	EncryptionKey string   `toml:"encryption_key"` // id of the key of new images, the name of a systemd credential; "" = they are plain
	OldKeys       []string `toml:"old_keys"`       // ids of the keys of older restore points

	Policy string `toml:"policy"` // id of the policy of backups whose request names none; "" = they are never pruned
}

// A VCenter is a vCenter that VM records may name. Its password is not here: see VCenterPassword.
type VCenter struct {
	Host               string `toml:"host"`
	User               string `toml:"user"`
	PasswordCredential string `toml:"password_credential"` // name of a systemd credential of the daemon
	Datacenter         string `toml:"datacenter"`
}

// Default is the configuration of an empty file. It has no repository, so every start of a backup is refused until
// one is configured.
func Default() *Config {
	return &Config{
		Agent: Agent{
			StateDirectory: "/var/lib/sendense-agent",
			Socket:         "/run/sendense-agent/agent.sock",
			SocketGroup:    "sendense",
			Bus:            BusSystem,
			ExporterUser:   "sendense-nbd",
			ExporterGroup:  "sendense-nbd",
			Slice:          "sendense-nbd.slice",
			FailedImages:   RemoveImages,
			LogLevel:       "info",
			LogFormat:      "auto",
		},
		NBD: NBD{
			Host:         "127.0.0.1",
			FirstPort:    10100,
			LastPort:     10200,
			QemuNBD:      "/usr/bin/qemu-nbd",
			QemuImg:      "/usr/bin/qemu-img",
			Shared:       16,
			StartTimeout: DurationOf(30 * time.Second),
			StopTimeout:  DurationOf(10 * time.Minute),
		},
		SNA: SNA{
			URL:             "http://127.0.0.1:9081",
			NBDHost:         "127.0.0.1",
			ConnectTimeout:  DurationOf(10 * time.Second),
			StartTimeout:    DurationOf(time.Minute),
			DiscoverTimeout: DurationOf(2 * time.Minute),
			Cooldown:        DurationOf(10 * time.Minute),
		},
		Deadlines: Deadlines{
			FirstConnection: DurationOf(15 * time.Minute),
			NoProgress:      DurationOf(2 * time.Hour),
			Disconnect:      DurationOf(time.Hour),
			LastQuestion:    DurationOf(3 * time.Second),
			FirstReport:     DurationOf(45 * time.Second),
			NextReport:      DurationOf(45 * time.Second),
			ClientGone:      DurationOf(45 * time.Second),
		},
		Limits:  Limits{MaxBackups: 16, MaxQueued: 1000, MaxRestores: 16},
		Restore: Restore{Lifetime: DurationOf(24 * time.Hour), MaxLifetime: DurationOf(7 * 24 * time.Hour), Guestfish: "/usr/bin/guestfish", ReaderUser: "sendense-files"},
		Verify:  Verify{Interval: DurationOf(7 * 24 * time.Hour), DeepInterval: DurationOf(30 * 24 * time.Hour), RateLimit: SizeOf(64 << 20)},
		Squeeze: Squeeze{Enabled: true, MinPercent: 10, MinChanges: 300, MinSize: SizeOf(64 << 20)},
		Space:   Space{Reserve: SizeOf(1 << 30), Floor: SizeOf(64 << 20)},
		HTTP:    HTTP{Listen: "127.0.0.1:8082"},
		Metrics: Metrics{Enabled: true, Listen: "127.0.0.1:9185", MaxVMs: 1000, BackupInterval: DurationOf(26 * time.Hour)},
		Prune:   Prune{HoldAbovePercent: 50},

		Audit:     Audit{Enabled: true, Keep: AgeOf(400 * 24 * time.Hour)},
		Discovery: Discovery{Interval: DurationOf(time.Hour)},
		Runs:      Runs{Keep: AgeOf(400 * 24 * time.Hour)},
	}
}

//go:embed default.toml
var example string

// Example is the commented configuration file that packages install. Read back, it is Default.
func Example() string { return example }
