package callbacks

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// bearer lets requests with the token through. It compares hashes, so that the time it takes reveals neither the token nor its
// length.
func bearer(token string) func(route) route {
	want := sha256.Sum256([]byte(token))
	return func(next route) route {
		return func(ctx context.Context, req *http.Request, body []byte) (any, error) {
			scheme, given, _ := strings.Cut(req.Header.Get("Authorization"), " ")
			got := sha256.Sum256([]byte(given))
			if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				return nil, rpc.NewError(rpc.ReasonUnauthorized, "the bearer token is missing or wrong")
			}
			return next(ctx, req, body)
		}
	}
}

func (r *routes) startBackup(ctx context.Context, req *http.Request, body []byte) (any, error) {
	entry := audit.Entry{From: req.RemoteAddr, Method: rpc.MethodBackupStart, Params: body}
	asked := r.audit.Asked(entry)
	started, err := r.start(ctx, body)
	if b, ok := started.(rpc.StartResponse); ok {
		entry.BackupID = b.BackupID
	}
	if e := translate.Error(err); e != nil {
		entry.Reason, entry.Message, entry.BackupID = string(e.Data.Reason), e.Message, e.Data.BackupID
	}
	r.audit.Answered(asked, entry)
	return started, err
}

func (r *routes) start(ctx context.Context, body []byte) (any, error) {
	if !json.Valid(body) {
		return nil, invalid("body: want a JSON object with vm_name")
	}
	request, err := translate.StartRequest(body)
	if err != nil {
		return nil, err
	}
	b, err := r.agent.Backups.Start(ctx, request)
	if err != nil {
		return nil, err
	}
	return translate.Started(b), nil
}

func (r *routes) getBackup(ctx context.Context, req *http.Request, _ []byte) (any, error) {
	return translate.BackupWithProgress(ctx, r.agent, req.PathValue("backup_id"))
}
