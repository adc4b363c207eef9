package nfstest_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A machine is a virtual one with a kernel that has an NFS client, and this program as its only process. It is emulated: a machine
// that tests often has no KVM that works.
type machine struct {
	console  io.Reader
	keyboard io.Writer
}

// modules are what the machine loads, with all that they need.
var modules = []string{"virtio_pci", "virtio_net", "nfsv3", "nfsv4"}

// boot starts the machine. The test ends when its console does.
func boot(t *testing.T, s *server) *machine {
	kernel := kernelWithNFS(t)
	guest := filepath.Join(s.dir, "guest")
	build := exec.Command("go", "test", "-c", "-o", guest, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // the machine has no libraries
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	initrd := filepath.Join(s.dir, "initrd")
	must(t, os.WriteFile(initrd, archive(t, kernel, guest), 0o600))
	qemu := s.command("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", "/boot/vmlinuz-"+kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 edd=off quiet",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net")
	console, err := qemu.StdoutPipe()
	must(t, err)
	keyboard, err := qemu.StdinPipe()
	must(t, err)
	var words bytes.Buffer
	qemu.Stderr = &words
	must(t, qemu.Start())
	t.Cleanup(func() {
		end(qemu)
		if t.Failed() {
			t.Logf("qemu: %s", words.String())
		}
	})
	return &machine{console, keyboard}
}

// kernelWithNFS is the version of the newest kernel on the disk that has the module, whatever kernel runs.
func kernelWithNFS(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/lib/modules/*/kernel/fs/nfs/nfsv4.ko")
	must(t, err)
	slices.Reverse(found)
	for _, path := range found {
		version := strings.Split(path, "/")[3]
		if _, err := os.Stat("/boot/vmlinuz-" + version); err == nil {
			return version
		}
	}
	t.Fatal("there is no kernel in /boot with an NFS client: see .ci/deps")
	return ""
}

// archive makes the first file system of the machine: this program, and the modules of the kernel in the order in which they are loaded.
func archive(t *testing.T, kernel, guest string) []byte {
	t.Helper()
	var a cpio
	a.directory("dev")
	a.directory("modules")
	a.file(t, "init", guest)
	seen := map[string]bool{}
	for _, m := range modules {
		out, err := exec.Command("modprobe", "--set-version", kernel, "--show-depends", m).Output()
		must(t, err)
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "insmod" || seen[words[1]] {
				continue // or it is built in
			}
			seen[words[1]] = true
			a.file(t, fmt.Sprintf("modules/%02d-%s", len(seen), filepath.Base(words[1])), words[1])
		}
	}
	a.entry("TRAILER!!!", 0, nil)
	return a.Bytes()
}

// A cpio is an archive in the format that the kernel reads ("newc").
type cpio struct {
	bytes.Buffer
	entries int
}

func (c *cpio) directory(name string) { c.entry(name, 0o40755, nil) }

func (c *cpio) file(t *testing.T, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	c.entry(name, 0o100755, data)
}

func (c *cpio) entry(name string, mode int, data []byte) {
	c.entries++
	fmt.Fprint(c, "070701")
	for _, field := range []int{c.entries, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(c, "%08x", field)
	}
	fmt.Fprintf(c, "%s\x00", name)
	c.pad()
	c.Write(data)
	c.pad()
}

func (c *cpio) pad() { c.Write(make([]byte, (4-c.Len()%4)%4)) }
