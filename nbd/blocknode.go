package nbd

import (
	"encoding/json"
	"fmt"
	"strings"
)

// jsonName begins a file name that QEMU takes for a description of block nodes.
const jsonName = "json:"

// A blockNode is a part of such a description (BlockdevOptions of QEMU's qapi/block-core.json).
type blockNode struct {
	Driver        string        `json:"driver,omitempty"`
	ThrottleGroup string        `json:"throttle-group,omitempty"`
	Filename      string        `json:"filename,omitempty"`
	Encrypt       *blockEncrypt `json:"encrypt,omitempty"`
	File          *blockNode    `json:"file,omitempty"`
	Backing       *blockNode    `json:"backing,omitempty"`
}

type blockEncrypt struct {
	KeySecret string `json:"key-secret"` // id of the secret object
}

// imageNode is a qcow2 image in a file. keys are the ids of the keys of the image and of those below it, "" for one that is
// plain. Those below are found by what the images' headers say, and only told their keys.
func imageNode(path string, keys []string) *blockNode {
	n := keyedNode(keys)
	if n == nil {
		n = &blockNode{}
	}
	n.Driver, n.File = imageFormat, &blockNode{Driver: "file", Filename: path}
	return n
}

const imageFormat = "qcow2"

func keyedNode(keys []string) *blockNode {
	if len(keys) == 0 {
		return nil
	}
	below := keyedNode(keys[1:])
	if keys[0] == "" && below == nil {
		return nil
	}
	n := &blockNode{Backing: below}
	if keys[0] != "" {
		n.Encrypt = &blockEncrypt{keys[0]}
	}
	return n
}

func (n *blockNode) name() (string, error) {
	text, err := json.Marshal(n)
	return jsonName + string(text), err
}

// aloneName names an image so that QEMU opens that one file as qcow2 and
// nothing else. Given a plain path, qemu-img check (7.2) opens the whole chain
// of backing files that the headers name.
func aloneName(path string, encrypted bool) (string, error) {
	alone := struct {
		*blockNode
		Backing any `json:"backing"` // null: none
	}{blockNode: imageNode(path, nil)}
	if encrypted {
		alone.Encrypt = &blockEncrypt{secretID}
	}
	name, err := json.Marshal(alone)
	if err != nil {
		return "", fmt.Errorf("image path %q: %w", path, err)
	}
	return jsonName + string(name), nil
}

// imageOf is the file of the image that a name describes which imageNode has made, with or without a limit.
func imageOf(name string) (string, bool) {
	text, found := strings.CutPrefix(name, jsonName)
	var n blockNode
	if !found || json.Unmarshal([]byte(text), &n) != nil {
		return "", false
	}
	image := &n
	if n.Driver == throttleDriver && n.File != nil {
		image = n.File
	}
	if image.Driver != imageFormat || image.File == nil || image.File.Driver != "file" {
		return "", false
	}
	return image.File.Filename, true
}
