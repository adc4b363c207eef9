package storage

import (
	"context"

	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Images makes and reads the images of a repository with QEMU's tools, as the exporters' user. Its methods are those of qemu.Tools and of
// repository.Repository, which have their documentation.
type Images struct {
	repository *Repository
	Key        qemu.Secret // of the images; the zero value for images that are not encrypted
}

// Images returns the tools for the images of a repository that are encrypted with a key; for those that are not encrypted if it is zero.
func (r *Repository) Images(key qemu.Secret) Images { return Images{repository: r, Key: key} }

// A one is an image with its key. A key is sent to the process of the repository only.
type one struct {
	Path string
	Key  qemu.Revealed
}

type created struct {
	Spec qemu.ImageSpec
	Key  qemu.Revealed
}

type layer struct {
	Path string
	Key  qemu.Revealed
}

type merged struct {
	Layers, Base []layer
	Image        qemu.ImageSpec
	Cache        string
	Key          qemu.Revealed
}

type flattened struct {
	Image     layer
	Backing   string
	Base      []layer
	SizeBytes int64
	Cache     string
	Key       qemu.Revealed
}

type compared struct {
	A, B []layer
	Key  qemu.Revealed
}

type squeezed struct {
	Image               layer
	Path, Backing       string
	Base, Onto          []layer
	SizeBytes, MaxBytes int64
	Reserve             int64
	Cache               string
}

var (
	opCreate = declare("making an image", changes, func(ctx context.Context, f *Files, a created) (none, error) {
		return none{}, f.toolsFor(a.Key).Create(ctx, a.Spec)
	})
	opInfo = declare("reading the header of an image", reads, func(_ context.Context, f *Files, a one) (qcow2.Info, error) {
		return f.tools.Info(a.Path)
	})
	opWhole = declare("reading the metadata of an image", reads, func(_ context.Context, f *Files, a one) (qcow2.Info, error) {
		return f.tools.Whole(a.Path)
	})
	opCheck = declare("checking an image", endless, func(ctx context.Context, f *Files, a one) (qemu.CheckResult, error) {
		return f.toolsFor(a.Key).Check(ctx, a.Path)
	})
	opRepair = declare("repairing the leaks of an image", endless, func(ctx context.Context, f *Files, a one) (qemu.CheckResult, error) {
		return f.toolsFor(a.Key).RepairLeaks(ctx, a.Path)
	})
	opUnlock = declare("trying the key of an image", changes, func(ctx context.Context, f *Files, a one) (none, error) {
		return none{}, f.toolsFor(a.Key).Unlock(ctx, a.Path)
	})
	opMerge = declare("merging images", endless, func(ctx context.Context, f *Files, a merged) (none, error) {
		return none{}, f.toolsFor(a.Key).Merge(ctx, qemu.MergeSpec{
			Layers: opened(a.Layers), Base: opened(a.Base), Image: a.Image, Cache: a.Cache,
			Progress: func(fraction float64) { moved(ctx, Movement{Fraction: fraction}) },
		})
	})
	opMergedBytes = declare("reading the tables of images", endless, func(ctx context.Context, f *Files, a merged) (int64, error) {
		return f.toolsFor(a.Key).MergedBytes(ctx, opened(a.Layers), opened(a.Base))
	})
	opCompare = declare("comparing images", endless, func(ctx context.Context, f *Files, a compared) (none, error) {
		return none{}, f.toolsFor(a.Key).Compare(ctx, opened(a.A), opened(a.B))
	})
	opSqueeze = declare("squeezing an image", endless, func(ctx context.Context, f *Files, a squeezed) (none, error) {
		return none{}, f.tools.Squeeze(ctx, qemu.SqueezeSpec{
			Image: opened([]layer{a.Image})[0], Path: a.Path, Backing: a.Backing, Base: opened(a.Base), Onto: opened(a.Onto),
			SizeBytes: a.SizeBytes, MaxBytes: a.MaxBytes, Cache: a.Cache, Room: func() error { return f.repo.Room(a.Reserve) },
		})
	})
	opFlatten = declare("making an image independent", endless, func(ctx context.Context, f *Files, a flattened) (none, error) {
		return none{}, f.toolsFor(a.Key).Flatten(ctx, qemu.FlattenSpec{
			Image: opened([]layer{a.Image})[0], Backing: a.Backing, Base: opened(a.Base), SizeBytes: a.SizeBytes, Cache: a.Cache,
		})
	})
)

func (f *Files) toolsFor(key qemu.Revealed) qemu.Tools { return f.tools.WithKey(key.Secret()) }

func sent(layers []qemu.Layer) []layer {
	list := make([]layer, len(layers))
	for i, l := range layers {
		list[i] = layer{Path: l.Path, Key: l.Key.Reveal()}
	}
	return list
}

func opened(layers []layer) []qemu.Layer {
	list := make([]qemu.Layer, len(layers))
	for i, l := range layers {
		list[i] = qemu.Layer{Path: l.Path, Key: l.Key.Secret()}
	}
	return list
}

func (i Images) Create(ctx context.Context, spec qemu.ImageSpec) error {
	return opCreate.tell(ctx, i.repository, created{Spec: spec, Key: i.Key.Reveal()})
}

func (i Images) Info(ctx context.Context, path string) (qcow2.Info, error) {
	return opInfo.of(ctx, i.repository, one{Path: path})
}

func (i Images) Whole(ctx context.Context, path string) (qcow2.Info, error) {
	return opWhole.of(ctx, i.repository, one{Path: path})
}

func (i Images) Check(ctx context.Context, path string) (qemu.CheckResult, error) {
	return opCheck.of(ctx, i.repository, one{Path: path, Key: i.Key.Reveal()})
}

func (i Images) RepairLeaks(ctx context.Context, path string) (qemu.CheckResult, error) {
	return opRepair.of(ctx, i.repository, one{Path: path, Key: i.Key.Reveal()})
}

func (i Images) Unlock(ctx context.Context, path string) error {
	return opUnlock.tell(ctx, i.repository, one{Path: path, Key: i.Key.Reveal()})
}

func (i Images) Merge(ctx context.Context, m qemu.MergeSpec) error {
	var progress func(Movement)
	if m.Progress != nil {
		progress = func(now Movement) { m.Progress(now.Fraction) }
	}
	_, err := opMerge.ask(ctx, i.repository, merged{
		Layers: sent(m.Layers), Base: sent(m.Base), Image: m.Image, Cache: m.Cache, Key: i.Key.Reveal(),
	}, progress)
	return err
}

func (i Images) MergedBytes(ctx context.Context, layers, base []qemu.Layer) (int64, error) {
	return opMergedBytes.of(ctx, i.repository, merged{Layers: sent(layers), Base: sent(base), Key: i.Key.Reveal()})
}

func (i Images) Compare(ctx context.Context, a, b []qemu.Layer) error {
	return opCompare.tell(ctx, i.repository, compared{A: sent(a), B: sent(b), Key: i.Key.Reveal()})
}

func (i Images) Flatten(ctx context.Context, s qemu.FlattenSpec) error {
	return opFlatten.tell(ctx, i.repository, flattened{
		Image: sent([]qemu.Layer{s.Image})[0], Backing: s.Backing, Base: sent(s.Base), SizeBytes: s.SizeBytes, Cache: s.Cache, Key: i.Key.Reveal(),
	})
}

// Squeeze does what qemu.Tools.Squeeze does. It ends with repository.ErrNoRoom when less than reserve, in bytes, is free.
func (i Images) Squeeze(ctx context.Context, s qemu.SqueezeSpec, reserve int64) error {
	return opSqueeze.tell(ctx, i.repository, squeezed{
		Image: sent([]qemu.Layer{s.Image})[0], Path: s.Path, Backing: s.Backing, Base: sent(s.Base), Onto: sent(s.Onto),
		SizeBytes: s.SizeBytes, MaxBytes: s.MaxBytes, Reserve: reserve, Cache: s.Cache,
	})
}

func (i Images) KeepSqueezed(ctx context.Context, vm, backupID, file string) error {
	return opKeepSqueezed.tell(ctx, i.repository, imageFile{place{vm, backupID}, file})
}

func (i Images) DropSqueezed(ctx context.Context, vm, backupID, file string) error {
	return opDropSqueezed.tell(ctx, i.repository, imageFile{place{vm, backupID}, file})
}
