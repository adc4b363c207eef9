package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// Found is a restore point in a repository.
type Found struct {
	Path     string // absolute, of its directory
	Manifest manifest.Manifest
	Whole    bool // every image exists, of it and of its parents
}

// A Problem is why a restore point in a repository cannot be found or used.
type Problem struct {
	Path string // absolute, of the directory or link that it is about
	Err  error
}

// Points returns every restore point of the repository whose manifest can be read, in the order of their paths, and all problems; no
// problem ends it. A directory without a manifest is no problem: it is a backup that runs or has failed. Points skips hidden directories
// and unknown files. The error is for a repository that cannot be read at all.
func (r *Repository) Points() ([]Found, []Problem, error) {
	root, err := r.open()
	if err != nil {
		return nil, nil, r.fail(err)
	}
	defer root.Close()
	c := &catalog{repository: r}
	names, err := c.directories(root)
	if err != nil {
		return nil, nil, r.fail(err)
	}
	for _, name := range names {
		c.addVM(root, name)
	}
	return c.points, c.problems, nil
}

// A catalog is what Points has found so far.
type catalog struct {
	repository *Repository
	points     []Found
	problems   []Problem
}

func (c *catalog) problem(path string, err error) {
	c.problems = append(c.problems, Problem{Path: path, Err: err})
}

// directories lists the directories that may belong to VMs or backups, sorted. A symbolic link is a problem, because somebody may take
// it for the directory.
func (c *catalog) directories(dir *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	var names []string
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.Type() == fs.ModeSymlink:
			c.problem(filepath.Join(dir.Name(), e.Name()),
				errors.New("is a symbolic link, which is never followed: put the directory itself here"))
		case e.IsDir():
			names = append(names, e.Name())
		}
	}
	return names, rooted.Located(dir, err)
}

// addVM adds the restore points of one VM's directory.
func (c *catalog) addVM(root *os.Root, name string) {
	vm, err := rooted.Enter(root, name)
	if err != nil {
		c.problem(filepath.Join(root.Name(), name), err)
		return
	}
	defer vm.Close()
	names, err := c.directories(vm)
	if err != nil {
		c.problem(vm.Name(), err)
	}
	first := len(c.points)
	for _, name := range names {
		c.addPoint(root, vm, name, name)
	}
	c.addMidMerge(root, vm)
	c.checkChains(c.points[first:])
}

// addMidMerge adds the restore points whose merge was interrupted in its commit, as they are when the agent has completed it.
func (c *catalog) addMidMerge(root, vm *os.Root) {
	entries, _ := fs.ReadDir(vm.FS(), ".") // directories has told of an error
	for _, e := range entries {
		id, old := strings.CutPrefix(e.Name(), oldPrefix)
		if !old || !manifest.PlainName(id) {
			continue
		}
		mid, err := midMerge(vm, id)
		name := ""
		if mid {
			name, err = midName(vm, id)
		}
		switch {
		case err != nil:
			c.problem(filepath.Join(vm.Name(), id), err)
		case mid:
			c.addPoint(root, vm, id, name)
		}
	}
}

// addPoint adds a restore point, from the directory of that name.
func (c *catalog) addPoint(root, vm *os.Root, id, name string) {
	where := filepath.Join(vm.Name(), id)
	dir, err := rooted.Enter(vm, name)
	if err != nil {
		c.problem(where, err)
		return
	}
	defer dir.Close()
	m, err := c.repository.owner.readOf(&place{root: root, vm: vm, dir: dir}, id)
	switch {
	case errors.Is(err, ErrNoManifest):
	case err != nil:
		c.problem(where, err)
	default:
		c.points = append(c.points, Found{Path: where, Manifest: m, Whole: c.imagesThere(dir, m)})
	}
}

// imagesThere says whether the image of every disk exists, and adds a problem for each that does not.
func (c *catalog) imagesThere(dir *os.Root, m manifest.Manifest) bool {
	whole := true
	for _, d := range m.Disks {
		info, err := dir.Lstat(d.File)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("disk %d: image %s is missing: put it back; without it this restore point cannot be restored", d.DiskID, d.File)
		case err != nil:
			err = rooted.Located(dir, err)
		case !info.Mode().IsRegular():
			err = rooted.NotPlain(dir, info, "regular file")
		}
		if err != nil {
			c.problem(dir.Name(), err)
			whole = false
		}
	}
	return whole
}

// checkChains checks the parents of the restore points of one VM. A restore point without a complete parent is not whole.
func (c *catalog) checkChains(points []Found) {
	chains := chains{catalog: c, points: make(map[string]*Found, len(points)), seen: make(map[string]bool, len(points))}
	for i := range points {
		chains.points[points[i].Manifest.BackupID] = &points[i]
	}
	for i := range points {
		chains.check(&points[i])
	}
}

// chains are the restore points of one VM by their ids.
type chains struct {
	*catalog
	points map[string]*Found
	seen   map[string]bool
}

// check checks a restore point, after its parent.
func (c chains) check(f *Found) {
	m := f.Manifest
	if c.seen[m.BackupID] || m.Parent == "" {
		return
	}
	c.seen[m.BackupID] = true
	parent, whole := c.points[m.Parent], f.Whole
	if parent != nil {
		f.Whole = false // in case its parents lead back here
		c.check(parent)
	}
	err := checkParent(m, parent)
	if err != nil {
		c.problem(f.Path, err)
	}
	f.Whole = whole && err == nil
}

// checkParent says why a restore point cannot be based on its parent, which may be nil.
func checkParent(m manifest.Manifest, parent *Found) error {
	if parent == nil {
		return fmt.Errorf("its parent %s is missing, or cannot be read: put it back; without it this restore point "+
			"cannot be restored. Keep this restore point until you know that its parent is lost", m.Parent)
	}
	if !parent.Whole {
		return fmt.Errorf("its parent %s is not complete: this restore point cannot be restored until that is repaired", m.Parent)
	}
	for _, d := range m.Disks {
		if d.Backing != "" && !hasFile(parent.Manifest, path.Base(d.Backing)) {
			return fmt.Errorf("disk %d: its backing image %s does not belong to its parent", d.DiskID, d.Backing)
		}
	}
	return nil
}

func hasFile(m manifest.Manifest, file string) bool {
	for _, d := range m.Disks {
		if d.File == file {
			return true
		}
	}
	return false
}
