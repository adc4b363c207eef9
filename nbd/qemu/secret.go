package qemu

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrWrongKey: a key does not open an image; the image was made with another key.
var ErrWrongKey = errors.New("the key does not open the image")

// ErrNotEncrypted: there is a key for an image that is not encrypted.
var ErrNotEncrypted = errors.New("image is not encrypted, but must be")

// ErrKeyNeeded: there is no key for an image that is encrypted.
var ErrKeyNeeded = errors.New("image is encrypted, and no key was given")

// Lengths of a key, in bytes. QEMU's key derivation hardly slows down guessing (see iterationTime), so a key must be long.
const (
	MinSecretBytes = 32
	MaxSecretBytes = 512
)

// A Secret is the key of encrypted images. It is never printed, not even in part. The zero value is no key.
type Secret struct{ text string }

// NewSecret makes a key of the content of a file, to the last byte, so that other programs open the images with the same file. QEMU
// accepts text only. A newline at the end and blanks are refused, because they are easily lost. No error contains any part of the
// key.
func NewSecret(content []byte) (Secret, error) {
	switch n := len(content); {
	case n == 0:
		return Secret{}, errors.New("is empty")
	case content[n-1] == '\n':
		return Secret{}, errors.New(`ends in a newline, which would be part of the key and is easily lost: remove it (truncate -s -1 FILE)`)
	case n < MinSecretBytes || n > MaxSecretBytes:
		return Secret{}, fmt.Errorf("is %d bytes long: want %d to %d", n, MinSecretBytes, MaxSecretBytes)
	}
	for i, c := range content {
		if c <= ' ' || c > '~' {
			return Secret{}, fmt.Errorf("byte %d is not a printable ASCII character, and QEMU accepts text only: store the key as base64", i+1)
		}
	}
	return Secret{string(content)}, nil
}

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s.text == "" }

// String returns "(secret)": it keeps a key out of logs and errors, as GoString does.
func (s Secret) String() string { return "(secret)" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// file returns the key in a file in memory that has no name. A process that inherits it can read it.
func (s Secret) file() (*os.File, error) {
	const name = "key"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot pass a key to qemu-img: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt([]byte(s.text), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot pass a key to qemu-img: %w", err), f.Close())
	}
	return f, nil
}

// A keyring holds the keys for one run of qemu-img. Each is passed as a file without a name: arguments and variables can be read by
// others, and a file with a name would have to be removed.
type keyring []Secret

// firstKeyFD is the descriptor of the first key: the first of exec.Cmd's ExtraFiles.
const firstKeyFD = 3

// id returns qemu-img's name for a key, and adds a new key; "" for no key.
func (k *keyring) id(s Secret) string {
	if s.IsZero() {
		return ""
	}
	i := slices.Index(*k, s)
	if i < 0 {
		i = len(*k)
		*k = append(*k, s)
	}
	return "key" + strconv.Itoa(i)
}

// args returns the arguments that make qemu-img read the keys.
func (k keyring) args() (args []string) {
	for i, s := range k {
		args = append(args, "--object", fmt.Sprintf("secret,id=%s,file=/proc/self/fd/%d", k.id(s), firstKeyFD+i))
	}
	return args
}

func (k keyring) files() (files []*os.File, err error) {
	for _, s := range k {
		f, err := s.file()
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Revealed is the text of a key, on its way to the process that uses it. It is printed as "(secret)", but encoded as it is.
type Revealed string

// Reveal returns the text of the key; "" for no key.
func (s Secret) Reveal() Revealed { return Revealed(s.text) }

// Secret returns the key.
func (r Revealed) Secret() Secret { return Secret{string(r)} }

// String returns "(secret)".
func (r Revealed) String() string { return "(secret)" }

// GoString is String.
func (r Revealed) GoString() string { return r.String() }
