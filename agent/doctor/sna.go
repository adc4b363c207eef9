package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/sna"
)

// snaPatience limits the wait for the SNA's answer.
const snaPatience = 4 * time.Second

// sna asks the SNA for its health, through the tunnel.
func (h *host) sna(ctx context.Context) []Finding {
	about := one("sna", h.config.SNA.URL)
	client, err := sna.New(sna.Options{
		URL: h.config.SNA.URL, ConnectTimeout: min(h.config.SNA.ConnectTimeout.Std(), snaPatience), QueryTimeout: snaPatience,
	})
	if err != nil {
		return about.error(err.Error(), "correct sna.url")
	}
	begin := time.Now()
	health, err := client.Health(ctx)
	if err != nil {
		return snaTrouble(about, err)
	}
	if health.Status != "healthy" {
		return with(about.error(fmt.Sprintf("the SNA reports status %q", health.Status), "look at the log of the SNA's service"), "status", health.Status)
	}
	return with(about.ok(fmt.Sprintf("healthy, answered in %s", time.Since(begin).Round(time.Millisecond))), "status", health.Status)
}

// snaTrouble says why the SNA cannot be reached, or is not healthy.
func snaTrouble(about subject, err error) []Finding {
	var refused *sna.RefusedError
	var unreachable *sna.UnreachableError
	var lookup *net.DNSError
	kind, hint := "odd_answer", "what answers there is not an SNA: check where the tunnel leads, and correct sna.url"
	switch {
	case errors.As(err, &refused) && refused.StatusCode >= 500:
		kind, hint = "server_error", "the SNA has an internal error, or nothing listens at the end of the tunnel: look at the log of its service"
	case errors.As(err, &refused):
		kind, hint = "refused", "what answers there does not know /api/v1/health: check where the tunnel leads, and correct sna.url"
	case errors.Is(err, syscall.ECONNREFUSED):
		kind, hint = "tunnel_down", "nothing listens there: the tunnel is down. Look at the SSH service of the SNA that forwards this port"
	case errors.As(err, &lookup):
		kind, hint = "unknown_host", "correct the host in sna.url, or the name service"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		kind, hint = "timeout", "the tunnel is up, but there is no answer: check that the SNA runs, and restart the tunnel"
	case errors.As(err, &unreachable), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		kind, hint = "broken_off", "the tunnel is up, but its other end is not: check that the SNA's service runs"
	}
	return with(about.error(err.Error(), hint), "trouble", kind)
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// SNA asks the SNA of a configuration for its health.
func SNA(ctx context.Context, cfg *config.Config) Finding { return (&host{config: cfg}).sna(ctx)[0] }
