package snatest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// controlRoutes adds what a real SNA does not have:
//
//	GET  /sim/v1/state               State
//	POST /sim/v1/fault               {"faults": ["die=1", "slow=1048576"]} replaces all faults
//	POST /sim/v1/hold?point=copy/0   as Hold
//	POST /sim/v1/release?point=...   as Release
//	POST /sim/v1/kill?job=...        as Kill
//	POST /sim/v1/terminate?job=...   as Terminate
//	POST /sim/v1/forget              as Forget
//	POST /sim/v1/vm                  a VM, as SetVM
//	POST /sim/v1/remove-vm?path=...  as RemoveVM
//	GET  /sim/v1/wait?job=...&for=end|snapshot|POINT   RunState, when it has come to that
//
// The state also answers the POSTs that change something.
func (s *Server) controlRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/v1/state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.State()) })
	for name, act := range map[string]func(*http.Request) error{
		"fault":     s.controlFaults,
		"hold":      func(r *http.Request) error { return s.holds.Hold(r.FormValue("point")) },
		"release":   s.controlRelease,
		"kill":      func(r *http.Request) error { return s.Kill(r.Context(), r.FormValue("job")) },
		"terminate": func(r *http.Request) error { return s.Terminate(r.Context(), r.FormValue("job")) },
		"remove-vm": func(r *http.Request) error { s.RemoveVM(r.FormValue("path")); return nil },
		"forget":    func(*http.Request) error { s.Forget(); return nil },
		"vm":        s.controlVM,
	} {
		mux.HandleFunc("POST /sim/v1/"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := act(r); err != nil {
				plain(w, http.StatusBadRequest, err.Error())
				return
			}
			writeJSON(w, s.State())
		})
	}
	mux.HandleFunc("GET /sim/v1/wait", s.controlWait)
}

func (s *Server) controlFaults(r *http.Request) error {
	var body struct {
		Faults []string `json:"faults"`
	}
	if err := decodeControl(r, &body); err != nil {
		return err
	}
	faults, err := fault.Parse(body.Faults...)
	if err != nil {
		return err
	}
	return s.SetFaults(faults)
}

func (s *Server) controlRelease(r *http.Request) error {
	point := r.FormValue("point")
	if err := fault.CheckPoint(point); err != nil {
		return err
	}
	s.holds.Release(point)
	return nil
}

func (s *Server) controlVM(r *http.Request) error {
	var vm vcenter.VM
	if err := decodeControl(r, &vm); err != nil {
		return err
	}
	return s.SetVM(vm)
}

func (s *Server) controlWait(w http.ResponseWriter, r *http.Request) {
	run, err := s.waitFor(r.Context(), r.FormValue("job"), r.FormValue("for"))
	if err != nil {
		plain(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, run)
}

func (s *Server) waitFor(ctx context.Context, jobID, what string) (client.RunState, error) {
	switch what {
	case "end":
		return s.WaitRun(ctx, jobID)
	case "snapshot":
		return s.WaitSnapshot(ctx, jobID)
	}
	if err := fault.CheckPoint(what); err != nil {
		return client.RunState{}, fmt.Errorf("wait for %q: neither end nor snapshot: %w", what, err)
	}
	return s.WaitHeld(ctx, jobID, what)
}

// decodeControl is strict, unlike the SNA: a test with a typing error must fail.
func decodeControl(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
