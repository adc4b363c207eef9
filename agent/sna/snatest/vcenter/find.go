package vcenter

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

var (
	errNoSuchVM = errors.New("not found")
	errManyVMs  = errors.New("resolves to multiple vms")
)

// find finds a VM as find.Finder of govmomi does for SBC: each segment of the path is a
// pattern of path.Match, so *, ? and [ match other VMs, and a backslash escapes
// them. A name that equals its segment literally matches, too.
func find(vms []VM, pattern string) (VM, error) {
	var found []VM
	for _, vm := range vms {
		matches, err := vm.matches(pattern)
		if err != nil {
			return VM{}, err
		}
		if matches {
			found = append(found, vm)
		}
	}
	switch len(found) {
	case 0:
		return VM{}, fmt.Errorf("vm '%s' %w", pattern, errNoSuchVM)
	case 1:
		return found[0], nil
	}
	return VM{}, fmt.Errorf("path '%s' %w", pattern, errManyVMs)
}

func (vm VM) matches(pattern string) (bool, error) {
	names := strings.Split(strings.TrimPrefix(vm.Path, "/"), "/")
	if !strings.Contains(pattern, "/") {
		return path.Match(pattern, names[len(names)-1]) // anywhere in the datacenter
	}
	at, segments := 0, strings.Split(strings.TrimPrefix(path.Clean(pattern), "/"), "/")
	if !strings.HasPrefix(pattern, "/") {
		at = 2 // relative to the datacenter's folder of VMs
	}
	if last := len(segments) - 1; segments[last] == "..." { // everything below, with any name (findRoot of govmomi's finder)
		return at+last < len(names) && path.Join(segments[:last]...) == path.Join(names[at:at+last]...), nil
	}
	for ; at < len(names) && len(segments) > 0; at++ {
		matched, err := path.Match(segments[0], names[at])
		if err != nil {
			return false, err
		}
		last := at == len(names)-1
		switch {
		case matched && last && len(segments) > 1:
			return false, errors.New("cannot traverse type VirtualMachine")
		case !matched:
			return last && strings.HasSuffix(vm.Path, "/"+path.Join(segments...)), nil
		case last:
			return true, nil
		}
		segments = segments[1:]
	}
	return false, nil
}
