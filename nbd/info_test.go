package nbd

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestAnImageInUse(t *testing.T) {
	ctx := testContext(t)
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	if _, err := Probe(ctx, s.addr, "vm-disk0"); err != nil {
		t.Fatal(err)
	}
	if info, err := (Tools{}).Info(ctx, path); err != nil || info.VirtualBytes != 8*MiB {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := (Tools{}).Check(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("check: %v", err)
	}
	if _, err := (Tools{}).RepairLeaks(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("repair: %v", err)
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(`{"virtual-size":20971520,"format":"qcow2","cluster-size":65536,"actual-size":200704,` +
		`"format-specific":{"type":"qcow2","data":{"corrupt":false,"extended-l2":false,"data-file":"x"}},` +
		`"backing-filename":"base.qcow2","backing-filename-format":"qcow2","dirty-flag":false}`))
	f.Add([]byte(`{"virtual-size":1048576,"format":"qcow2"}`))
	f.Add([]byte(`{"virtual-size":-1,"format":"qcow2","actual-size":1e400}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, output []byte) {
		info, err := parseInfo(output)
		if err != nil {
			if info != (ImageInfo{}) {
				t.Fatalf("%+v beside %v", info, err)
			}
			return
		}
		if info.Format != "qcow2" || info.VirtualBytes < 0 || info.ActualBytes < 0 || info.ClusterBytes < 0 {
			t.Fatalf("%+v", info)
		}
	})
}
