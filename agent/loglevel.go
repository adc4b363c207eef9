package agent

import (
	"log/slog"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
)

// LogLevel is the least level that is logged now, as the configuration spells it.
func (a *Agent) LogLevel() string { return levelName(a.level.Level()) }

// SetLogLevel changes what is logged from now on, until the agent ends or its configuration is loaded again: debug, info,
// warn or error.
func (a *Agent) SetLogLevel(name string) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil || levelName(level) != name {
		return fault.New(fault.InvalidRequest, "level %.40q: want debug, info, warn or error", name)
	}
	before := a.LogLevel()
	a.level.Set(level)
	a.log.Warn("log level set", logkey.From, before, logkey.To, name) // a warning, so that it is seen at almost every level
	return nil
}

func levelName(level slog.Level) string { return strings.ToLower(level.String()) }
