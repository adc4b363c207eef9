package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// call runs one method for the peer: it finds the method, checks that the peer may call it, runs it, and informs the log
// and the observer.
func (s *Server) call(ctx context.Context, x *exchange, name string, params json.RawMessage) (json.RawMessage, *rpc.Error) {
	start, peer := time.Now(), x.conn.peer
	m, known := s.methods[name]
	var result json.RawMessage
	var err *rpc.Error
	switch {
	case !known:
		err = rpc.NewError(rpc.ReasonMethodNotFound, fmt.Sprintf("method not found: %.100q", name)).
			WithHint("rpc.discover lists the methods")
	case !m.access.allows(peer):
		err = rpc.NewError(rpc.ReasonNotAllowed, fmt.Sprintf("%s is not allowed for uid %d", name, peer.UID)).
			WithHint("call it as root or as a member of the group that owns the socket")
		s.opt.Audit.Refused(audit.Entry{UID: &peer.UID, PID: peer.PID, Method: m.name, Params: params, Reason: string(err.Data.Reason), Message: err.Message})
	case m.audited():
		entry := audit.Entry{UID: &peer.UID, PID: peer.PID, Method: m.name, Params: params}
		asked := s.opt.Audit.Asked(entry)
		result, err = s.run(ctx, x, m, params)
		s.opt.Audit.Answered(asked, answered(entry, result, err))
	default:
		result, err = s.run(ctx, x, m, params)
	}
	took := time.Since(start)
	s.opt.Observe(m.name, codeOf(err), took)
	s.logCall(ctx, peer, name, m, took, err)
	return result, err
}

// answered is the entry of the audit log for an answer. It names the backup that the answer is about.
func answered(e audit.Entry, result json.RawMessage, err *rpc.Error) audit.Entry {
	var about struct {
		BackupID string `json:"backup_id"`
	}
	_ = json.Unmarshal(result, &about) // most answers name none
	e.BackupID = about.BackupID
	if err != nil {
		e.Reason, e.Message, e.BackupID = string(err.Data.Reason), err.Message, err.Data.BackupID
	}
	return e
}

// run runs the method and encodes its result. All that goes wrong, even a panic, is an error of this call.
func (s *Server) run(ctx context.Context, x *exchange, m method, params json.RawMessage) (result json.RawMessage, wire *rpc.Error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("rpc method panicked", "method", m.name, "panic", p, "stack", string(debug.Stack()))
			result, wire = nil, translate.Error(fmt.Errorf("%s: internal fault", m.name))
		}
	}()
	value, err := m.handle(ctx, x, params)
	if err == nil {
		result, err = encode(value)
	}
	if err != nil {
		return nil, translate.Error(err)
	}
	return result, nil
}

func (s *Server) logCall(ctx context.Context, peer caller, name string, m method, took time.Duration, err *rpc.Error) {
	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("method", fmt.Sprintf("%.100s", name)), slog.Any("peer", peer), slog.Duration("took", took),
	}
	if err != nil {
		attrs = append(attrs, slog.Int("code", int(err.Code)), slog.String("reason", string(err.Data.Reason)), slog.String("error", err.Message))
		switch {
		case err.Data.Reason == rpc.ReasonInternal:
			level = slog.LevelError
		case slices.Contains([]rpc.Reason{rpc.ReasonSystemdFailed, rpc.ReasonProgramMissing, rpc.ReasonHostFailed}, err.Data.Reason):
			level = slog.LevelWarn
		case m.name != "" && !slices.Contains(m.reasons(), err.Data.Reason):
			level, attrs = slog.LevelWarn, append(attrs, slog.String("fault", "rpc.discover does not list this reason for this method"))
		}
	}
	s.log.LogAttrs(ctx, level, "rpc call", attrs...)
}

func codeOf(err *rpc.Error) rpc.Code {
	if err == nil {
		return 0
	}
	return err.Code
}
