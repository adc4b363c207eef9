package qemu

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/nbd"
)

const (
	limitID        = "limit"
	throttleDriver = "throttle"
)

// image returns the arguments for the image and the objects that it needs: the image below QEMU's throttle filter if there is a
// limit, and below the filter that refuses zeroes if they are refused.
func (o ServerOptions) image() []string {
	switch {
	case o.encrypted() || o.RefuseZeroes:
		return o.described()
	case o.RateLimit == 0:
		return []string{"--format=qcow2", "--", o.Image}
	}
	// The nodes below inherit cache, aio, discard and detect-zeroes.
	return append(o.limit(), "--image-opts", "--", throttled+commas(o.Image))
}

// throttled precedes the path of an image with a limit.
const throttled = "driver=throttle,throttle-group=limit,file.driver=qcow2,file.file.driver=file,file.file.filename="

// described returns the arguments of image, with a description of block nodes.
func (o ServerOptions) described() []string {
	var ids, args []string
	for _, k := range o.Keys {
		if k.ID != "" && !slices.Contains(ids, k.ID) {
			args = append(args, "--object", "secret,id="+k.ID+",file="+commas(k.Path))
		}
		ids = append(ids, k.ID)
	}
	if len(ids) == 0 {
		ids = []string{""}
	}
	node := imageNode(o.Image, ids[0])
	node.setParentKeys(ids[1:])
	if o.RefuseZeroes {
		node = detectZeroes(node, o.SizeBytes)
	}
	if o.RateLimit != 0 {
		node = &blockNode{Driver: throttleDriver, ThrottleGroup: limitID, File: node}
	}
	if o.RefuseZeroes {
		node = refuseZeroes(node)
	}
	name, _ := node.name() // has strings and numbers only: cannot fail
	return append(append(args, o.limit()...), "--", name)
}

// limit returns the object that RateLimit needs.
func (o ServerOptions) limit() []string {
	if o.RateLimit == 0 {
		return nil
	}
	return []string{"--object", "throttle-group,id=" + limitID + ",x-bps-write=" + strconv.FormatInt(o.RateLimit, 10)}
}

// encrypted reports whether any image needs a key.
func (o ServerOptions) encrypted() bool {
	return slices.ContainsFunc(o.Keys, func(k KeyFile) bool { return k.ID != "" })
}

// commas keeps a comma from ending the value of an option.
func commas(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// Served reads the image and the export name from a command line that Args made,
// also one of an older agent: exports outlive an upgrade. It reports false for
// any other command line.
func Served(args []string) (image, export string, ok bool) {
	if len(args) < 3 || args[len(args)-2] != "--" {
		return "", "", false
	}
	for _, arg := range args {
		if name, found := strings.CutPrefix(arg, "--export-name="); found {
			export = name
		}
	}
	image = args[len(args)-1]
	if strings.HasPrefix(image, throttled) {
		image = strings.ReplaceAll(strings.TrimPrefix(image, throttled), ",,", ",")
	} else if described, found := imageOf(image); found {
		image = described
	}
	return image, export, nbd.CheckExport(export) == nil && checkPath(image) == nil
}
