package snatest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
)

// answerStart sends the 200, or what a fault requires.
func (s *Server) answerStart(w http.ResponseWriter, r *http.Request, post *notedPost, request startBody, faults fault.Faults, pid int) {
	jobID := request.JobID
	if faults.Answer == fault.AnswerWrongJob {
		jobID += "-other"
	}
	body, _ := json.Marshal(map[string]any{ // these types always encode
		"job_id":     jobID,
		"status":     "started",
		"message":    "Backup started for " + request.VMName,
		"started_at": time.Now().UTC().Format(time.RFC3339),
		"pid":        pid,
	})
	body = append(body, '\n')

	switch faults.Answer {
	case fault.AnswerFail:
		post.answered(refuse(w, faults), pid)
		return
	case fault.AnswerHang:
		post.answered("nothing", pid)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case fault.AnswerReset:
		post.answered("reset", pid)
		reset(w)
		return
	case fault.AnswerTruncated:
		post.answered("200, truncated", pid)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case fault.AnswerGarbage:
		body = []byte("<html>\x1b[31mIt works!\x00</html>\n")
	case fault.AnswerHuge:
		body = []byte(`{"message":"` + strings.Repeat("x", 8<<20) + `"}`)
	}
	post.answered("200", pid)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // fails only if the caller has disconnected
}

func refuse(w http.ResponseWriter, faults fault.Faults) string {
	status := cmp.Or(faults.Status, http.StatusInternalServerError)
	return plain(w, status, cmp.Or(faults.Text, "Process start failed: injected"))
}

// reset ends the connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the caller has disconnected
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it Close would end the connection normally
	}
	_ = conn.Close()
}
