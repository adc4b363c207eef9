package qemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// jsonName begins a file name that QEMU takes for a description of block nodes.
const jsonName = "json:"

// A blockNode is a part of such a description (BlockdevOptions of QEMU's qapi/block-core.json).
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
	Image         *blockNode    `json:"image,omitempty"` // what blkdebug stands on
	MaxTransfer   int64         `json:"max-transfer,omitempty"`
	InjectError   []injectError `json:"inject-error,omitempty"`
}

type blockEncrypt struct {
	KeySecret string `json:"key-secret"` // id of the secret object
}

// noBacking has an image stand on nothing, whatever its header says.
var noBacking = json.RawMessage("null")

// imageNode is a qcow2 image in a file. key is the id of its key, "" if it is plain.
func imageNode(path, key string) *blockNode {
	n := &blockNode{Driver: ImageFormat, File: &blockNode{Driver: "file", Filename: path}}
	if key != "" {
		n.Encrypt = &blockEncrypt{key}
	}
	return n
}

// ImageFormat is how QEMU calls the format of every image here.
const ImageFormat = "qcow2"

// aloneNode describes an image so that QEMU opens that one file as qcow2 and
// nothing else. Given a plain path, qemu-img check (7.2) opens the whole chain
// of backing files that the headers name.
func aloneNode(path, key string) *blockNode {
	n := imageNode(path, key)
	n.Backing = noBacking
	return n
}

// tellKeys gives those that a node stands on their keys, the nearest first, "" for one that is plain. Which images they are is
// for the headers to say.
func (n *blockNode) tellKeys(keys []string) {
	if below := keyedNode(keys); below != nil {
		n.Backing = below
	}
}

func keyedNode(keys []string) *blockNode {
	if len(keys) == 0 {
		return nil
	}
	n := &blockNode{}
	n.tellKeys(keys[1:])
	if keys[0] != "" {
		n.Encrypt = &blockEncrypt{keys[0]}
	}
	if n.Backing == nil && n.Encrypt == nil {
		return nil
	}
	return n
}

// chainNode stands each of a list of images on the next, the newest first, whatever their headers say; the last one on nothing.
func chainNode(images []*blockNode) *blockNode {
	last := len(images) - 1
	images[last].Backing = noBacking
	for i := range last {
		images[i].Backing = images[i+1]
	}
	return images[0]
}

// name is what QEMU is given to open a node.
func (n *blockNode) name() (string, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("describe an image: %w", err)
	}
	return jsonName + string(text), nil
}

// ownName is the name by which QEMU knows a node that is open, where its path is not enough, as it was told a key: what it was
// told, in an order and with blanks of its own (bdrv_refresh_filename in block.c; QDict's order is that of a hash of the keys,
// tdb_hash in qobject/qdict.c, which has not changed since there are QDicts).
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

// qemuString is a string in JSON as QEMU writes it (qobject/json-writer.c): in ASCII.
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

// imageOf is the file of the image that a name describes which imageNode has made, beneath whichever filters.
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
