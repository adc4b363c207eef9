package rpc

import (
	"encoding/json"
	"sync"
)

// listeners get the progress of the verifications that were asked for on one connection.
type listeners struct {
	mu   sync.Mutex
	last int
	all  map[int]listener
}

type listener struct {
	backupID string
	tell     func(VerifyProgress)
}

// add adds a listener. The function that it returns removes it.
func (ls *listeners) add(backupID string, tell func(VerifyProgress)) (remove func()) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.all == nil {
		ls.all = map[int]listener{}
	}
	ls.last++
	id := ls.last
	ls.all[id] = listener{backupID, tell}
	return func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		delete(ls.all, id)
	}
}

// deliver takes a notification. A listener that was removed is not called any more.
func (ls *listeners) deliver(method string, params json.RawMessage) {
	var p VerifyProgress
	if method != NotifyVerifyProgress || json.Unmarshal(params, &p) != nil {
		return
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.all {
		if l.backupID == p.BackupID {
			l.tell(p)
		}
	}
}
