package qemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// jsonName begins a file name that QEMU reads as a description of block nodes.
const jsonName = "json:"

// A blockNode is one node of such a description (BlockdevOptions of QEMU's qapi/block-core.json).
type blockNode struct {
	Driver        string        `json:"driver,omitempty"`
	ThrottleGroup string        `json:"throttle-group,omitempty"`
	Filename      string        `json:"filename,omitempty"`
	Locking       string        `json:"locking,omitempty"`
	Encrypt       *blockEncrypt `json:"encrypt,omitempty"`
	File          *blockNode    `json:"file,omitempty"`
	Backing       any           `json:"backing,omitempty"` // a *blockNode, or noBacking
	Discard       string        `json:"discard,omitempty"`
	DetectZeroes  string        `json:"detect-zeroes,omitempty"`
	Image         *blockNode    `json:"image,omitempty"` // the node below blkdebug
	MaxTransfer   int64         `json:"max-transfer,omitempty"`
	Align         int64         `json:"align,omitempty"` // of blkdebug
	InjectError   []injectError `json:"inject-error,omitempty"`
}

type blockEncrypt struct {
	KeySecret string `json:"key-secret"` // id of the secret object
}

// noBacking opens an image without a parent, whatever its header says.
var noBacking = json.RawMessage("null")

// imageNode describes a qcow2 image in a file. key is the id of its key, "" if it is not encrypted.
func imageNode(path, key string) *blockNode {
	n := &blockNode{Driver: ImageFormat, File: &blockNode{Driver: "file", Filename: path}}
	if key != "" {
		n.Encrypt = &blockEncrypt{key}
	}
	return n
}

// ImageFormat is QEMU's name for the format of all images.
const ImageFormat = "qcow2"

// aloneNode describes an image so that QEMU opens this one file, as qcow2, and
// no other. For a path, qemu-img check (7.2) would open the whole chain of
// backing files that the headers name.
func aloneNode(path, key string) *blockNode {
	n := imageNode(path, key)
	n.Backing = noBacking
	return n
}

// setParentKeys sets the keys of the parents of a node, the nearest first, "" for an image that is not encrypted. The headers name
// the images.
func (n *blockNode) setParentKeys(keys []string) {
	if below := keyedNode(keys); below != nil {
		n.Backing = below
	}
}

func keyedNode(keys []string) *blockNode {
	if len(keys) == 0 {
		return nil
	}
	n := &blockNode{}
	n.setParentKeys(keys[1:])
	if keys[0] != "" {
		n.Encrypt = &blockEncrypt{keys[0]}
	}
	if n.Backing == nil && n.Encrypt == nil {
		return nil
	}
	return n
}

// chainNode bases each of a list of images on the next, the newest first, whatever their headers say. The last has no parent.
func chainNode(images []*blockNode) *blockNode {
	last := len(images) - 1
	images[last].Backing = noBacking
	for i := range last {
		images[i].Backing = images[i+1]
	}
	return images[0]
}

// name is the file name by which QEMU opens a node.
func (n *blockNode) name() (string, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("describe an image: %w", err)
	}
	return jsonName + string(text), nil
}

// ownName is QEMU's own name for an open node. It is not the path if the node has a key: it is the description, in QEMU's order
// and with QEMU's blanks (bdrv_refresh_filename in block.c; the order is that of a hash of the names, tdb_hash in
// qobject/qdict.c, which has never changed).
func (n *blockNode) ownName() string { return jsonName + n.options() }

func (n *blockNode) options() string {
	var options []string
	add := func(key, value string) { options = append(options, `"`+key+`": `+value) }
	if below, ok := n.Backing.(*blockNode); ok {
		add("backing", below.options())
	}
	if n.Encrypt != nil {
		add("encrypt.key-secret", qemuString(n.Encrypt.KeySecret))
	}
	add("driver", qemuString(n.Driver))
	if n.Filename != "" {
		add("filename", qemuString(n.Filename))
	}
	if n.File != nil {
		add("file", n.File.options())
	}
	return "{" + strings.Join(options, ", ") + "}"
}

// qemuString quotes a string in JSON as QEMU does (qobject/json-writer.c): in ASCII.
func qemuString(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r >= 0x7f && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04X\u%04X`, high, low)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// imageOf returns the file of the image in a name that was made from an imageNode, below any filters.
func imageOf(name string) (string, bool) {
	text, found := strings.CutPrefix(name, jsonName)
	var image *blockNode
	if !found || json.Unmarshal([]byte(text), &image) != nil {
		return "", false
	}
	for image != nil && image.Driver != ImageFormat {
		switch image.Driver {
		case throttleDriver:
			image = image.File
		case BlkdebugDriver:
			image = image.Image
		default:
			return "", false
		}
	}
	if image == nil || image.File == nil || image.File.Driver != "file" {
		return "", false
	}
	return image.File.Filename, true
}
