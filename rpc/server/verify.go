package server

import (
	"context"
	"encoding/json"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// progressEvery is how often the progress of a verification is pushed.
const progressEvery = time.Second

// verifyRow is the row of backup.verify. The answer comes at the end of the verification, which continues when the client
// hangs up.
func verifyRow(a *agent.Agent) method {
	m := raw[rpc.VerifyRequest](rpc.MethodBackupVerify, operate, "verify a restore point and its chain, and answer with the result",
		func(context.Context, json.RawMessage) (rpc.VerifyReport, error) { return rpc.VerifyReport{}, nil })
	m.handle = func(ctx context.Context, x *exchange, params json.RawMessage) (any, error) {
		var r rpc.VerifyRequest
		if err := decodeNamed(params, &r); err != nil {
			return nil, err
		}
		v, err := a.Verifications.Start(translate.VerifyRequest(r))
		if err != nil {
			return nil, err
		}
		if r.Progress && !x.oneWay {
			x.conn.tellProgress(ctx, v)
		}
		report, err := v.Wait(ctx)
		if err != nil {
			return nil, err
		}
		return translate.VerifyReport(report), nil
	}
	m.notifies, m.pushes = rpc.NotifyVerifyProgress, reflect.TypeFor[rpc.VerifyProgress]()
	return m
}

// tellProgress pushes the progress of a verification until it ends.
func (c *conn) tellProgress(ctx context.Context, v *verify.Verification) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		c.send(notification{Version: "2.0", Method: rpc.NotifyVerifyProgress, Params: translate.VerifyProgress(v.Progress())})
		select {
		case <-tick.C:
		case <-v.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
