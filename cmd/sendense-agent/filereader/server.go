// Package filereader reads single files of a restore point: it is the program that runs in a sandboxed unit beside a disk's
// export, lets libguestfs's appliance read the disk, and answers on a Unix socket. What is said on that socket is in package rpc
// (guestfiles.Request). It is not the agent and no JSON-RPC: the agent only starts it, as "sendense-agent read-files".
//
// The disk is untrusted. Its partition tables and file systems are read by the kernel of a virtual machine. An attacker who takes
// that over is confined by QEMU. An attacker who breaks out of QEMU is a user without rights, files or a network, except for the
// export of that one disk, read-only. The caller checks the answers once more.
package filereader

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// Options configure Serve.
type Options struct {
	Listener  net.Listener  // for the requests
	Guestfish string        // path of the program
	Export    string        // nbd://ADDRESS:PORT/NAME, read-only
	Dir       string        // for all files: writable, and private
	Idle      time.Duration // without a request for this time, Serve returns
	Ready     func() error  // called when it is ready to serve
}

// longestRequest is in bytes. The limit of a path is 4096, in base64.
const longestRequest = 16 << 10

type server struct {
	guest   *guest
	list    []volume
	mounted string // device that is the appliance's root
}

// Serve boots the appliance and answers requests, one after another, until there was no request for the time of Idle, or the
// appliance does not answer.
func Serve(ctx context.Context, o Options) error {
	export, err := url.Parse(o.Export)
	if err != nil || export.Scheme != "nbd" || export.Host == "" {
		return fmt.Errorf("export %q: want nbd://ADDRESS:PORT/NAME", o.Export)
	}
	s := &server{}
	if s.guest, err = boot(ctx, o.Guestfish, o.Dir, export); err != nil {
		return err
	}
	if s.list, err = s.guest.volumes(ctx); err != nil {
		return fmt.Errorf("list of volumes: %w", err)
	}
	if err := o.Ready(); err != nil {
		return err
	}
	for {
		if err := o.Listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(o.Idle)); err != nil {
			return err
		}
		conn, err := o.Listener.Accept()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil // idle
		case err != nil:
			return err
		}
		if err := s.answer(ctx, conn, o.Idle); errors.Is(err, errHungUp) {
			return nil // the appliance was interrupted while it sent
		} else if err != nil {
			return err
		}
	}
}

// errHungUp says that the caller hung up while the content was sent.
var errHungUp = errors.New("hung up")

// answer answers one request. After an error the reader ends: the appliance cannot be used again.
func (s *server) answer(ctx context.Context, conn net.Conn, patience time.Duration) error {
	defer conn.Close() //nolint:errcheck // the caller notices what is missing
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(io.LimitReader(conn, longestRequest)).ReadBytes('\n')
	if err != nil {
		return nil // the caller has hung up, or is not a client of ours
	}
	var r guestfiles.Request
	var answer guestfiles.Answer
	if err = json.Unmarshal(line, &r); err == nil {
		answer, err = s.handle(ctx, r)
	}
	if told := tell(conn, answer, err); told != nil || err != nil {
		return fatal(err)
	}
	if r.Op != guestfiles.OpRead {
		return nil
	}
	err = s.content(ctx, conn, answer)
	if errors.Is(err, errHungUp) {
		return err
	}
	if tell(conn, guestfiles.Answer{}, err) != nil {
		return nil
	}
	return fatal(err)
}

// fatal returns the error if the appliance cannot be used after it.
func fatal(err error) error {
	if errors.Is(err, errHung) {
		return err
	}
	return nil
}

func tell(w io.Writer, a guestfiles.Answer, err error) error {
	if err != nil {
		a = guestfiles.Answer{Error: err.Error()}
	}
	return json.NewEncoder(w).Encode(a)
}

func (s *server) handle(ctx context.Context, r guestfiles.Request) (guestfiles.Answer, error) {
	switch r.Op {
	case guestfiles.OpVolumes:
		a := guestfiles.Answer{}
		for _, v := range s.list {
			a.Volumes = append(a.Volumes, v.Volume)
		}
		return a, nil
	case guestfiles.OpList, guestfiles.OpRead:
	default:
		return guestfiles.Answer{}, fmt.Errorf("op %q: want volumes, list or read", r.Op)
	}
	where := string(r.Path)
	if !strings.HasPrefix(where, "/") || strings.ContainsRune(where, 0) {
		return guestfiles.Answer{}, fmt.Errorf("path %q: want an absolute path, such as /etc/hosts", where)
	}
	v, where, err := s.find(ctx, r.Volume, path.Clean(where))
	if err != nil {
		return guestfiles.Answer{}, err
	}
	entry, err := s.guest.stat(ctx, where)
	if err != nil {
		return guestfiles.Answer{}, err
	}
	entry.Name = []byte(path.Base(where))
	a := guestfiles.Answer{Volume: v.Name, Path: []byte(where), Entry: &entry}
	switch kind := entry.Kind(); {
	case r.Op == guestfiles.OpList && kind == guestfiles.ModeDir:
		a.Entries, err = s.guest.entries(ctx, where)
	case r.Op == guestfiles.OpRead && kind != guestfiles.ModeDir && kind != guestfiles.ModeRegular:
		err = fmt.Errorf("%s: neither a file nor a directory, so it cannot be read", where)
	}
	return a, err
}

// content sends the content of a file, or a tar archive of a directory.
func (s *server) content(ctx context.Context, w io.Writer, a guestfiles.Answer) error {
	command := []string{"download", string(a.Path), "/dev/stdout"}
	if a.Entry.Kind() == guestfiles.ModeDir {
		command = []string{"tar-out", string(a.Path), "/dev/stdout", "numericowner:true"}
	}
	var gone error
	err := s.guest.stream(ctx, func(p []byte) error {
		gone = piece(w, p)
		return gone
	}, command...)
	if gone == nil {
		gone = piece(w, nil)
	}
	if gone != nil {
		return errHungUp
	}
	return err
}

func piece(w io.Writer, p []byte) error {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(p)))
	_, err := w.Write(append(head[:], p...))
	return err
}
