package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
)

// StateStatus is the present state of the directory of the database.
type StateStatus struct {
	Directory string
	FreeBytes int64    // that may still be written to its file system; 0 = not known
	Error     string   // why the database cannot be written; "" = it can
	Hint      string   // what to do about Error
	SetAside  []string // damaged databases that are kept there
}

func (a *Agent) stateStatus(ctx context.Context) StateStatus {
	s := StateStatus{Directory: a.store.Directory()}
	if free, err := a.store.FreeBytes(); err == nil {
		s.FreeBytes = free
	}
	if err := a.Records.Writable(ctx); err != nil {
		s.Error, s.Hint = err.Error(), fault.From(err).Hint
	}
	list, err := a.store.SetAside()
	if err != nil {
		a.log.Error("the state directory cannot be read", logkey.Error, err)
	}
	s.SetAside = list
	return s
}

var (
	descStateWritable = prometheus.NewDesc("sendense_agent_state_writable",
		"Whether a transaction of the database can be written (1) or not (0).", nil, nil)
	descStateFree = prometheus.NewDesc("sendense_agent_state_free_bytes",
		"Bytes that may still be written to the file system of the database.", nil, nil)
	descSetAside = prometheus.NewDesc("sendense_agent_store_set_aside",
		"Damaged databases that are kept beside the database until you remove them.", nil, nil)
)

// state reports the state directory.
func (sc *scrape) state(ctx context.Context) ([]prometheus.Metric, error) {
	s := sc.agent.stateStatus(ctx)
	writable := 1.0
	if s.Error != "" {
		writable = 0
	}
	return []prometheus.Metric{
		gauge(descStateWritable, writable), gauge(descStateFree, float64(s.FreeBytes)), gauge(descSetAside, float64(len(s.SetAside))),
	}, nil
}
