package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
)

// ByShell is the name of the contender.
const ByShell = "a shell: qemu-img, busctl, systemctl"

// TimeShell starts a pair of units for each disk with a shell script: it makes the images, sends the same requests as the agent, and polls
// until every unit is active. Then it removes them.
func (f *Floor) TimeShell(ctx context.Context, disks int) (took time.Duration, err error) {
	dir := filepath.Join(f.dir, strconv.FormatInt(f.serial.Add(1), 10))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	images := make([]string, disks)
	for i := range images {
		images[i] = filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", i))
	}
	specs, err := f.specs(images)
	if err != nil {
		return 0, err
	}
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, image := range images {
		fmt.Fprintf(&script, "qemu-img create -q -f qcow2 %s %s %d &\n", strings.Join(FullImage, " "), image, int64(DiskOfStart))
	}
	fmt.Fprintf(&script, "wait\nchown -R %s: %s\n", f.config.Agent.ExporterUser, dir)
	for _, s := range specs {
		service, socket := s.Properties(false, floorSlice)
		fmt.Fprintf(&script, "busctl --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit "+
			"'ssa(sv)a(sa(sv))' -- %s fail %s 1 %s %s &\n", s.Name+".service", properties(service), s.Name+".socket", properties(socket))
	}
	script.WriteString("wait\n")
	for _, s := range specs {
		fmt.Fprintf(&script, "until systemctl is-active --quiet %s.service; do :; done\n", s.Name)
	}
	path := filepath.Join(dir, "script")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, host.Patience)
	defer cancel()
	began := time.Now()
	err = host.Run(ctx, "sh", path)
	took = time.Since(began)
	return took, errors.Join(err, f.remove(ctx, specs))
}

// properties are busctl's arguments for properties.
func properties(all []systemd.Property) string {
	words := []string{strconv.Itoa(len(all))}
	for _, p := range all {
		words = append(words, p.Name, p.Value.Signature().String())
		words = append(words, values(reflect.ValueOf(p.Value.Value()))...)
	}
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// values are busctl's arguments for a value: of an array its length and its elements, of a structure its fields.
func values(v reflect.Value) (words []string) {
	if variant, ok := v.Interface().(dbus.Variant); ok {
		return append([]string{variant.Signature().String()}, values(reflect.ValueOf(variant.Value()))...)
	}
	switch v.Kind() {
	case reflect.Slice:
		words = append(words, strconv.Itoa(v.Len()))
		for i := range v.Len() {
			words = append(words, values(v.Index(i))...)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			words = append(words, values(field)...)
		}
	case reflect.Interface:
		return values(v.Elem())
	default:
		words = append(words, fmt.Sprint(v.Interface()))
	}
	return words
}
