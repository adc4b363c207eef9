package qemu

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrWrongKey is returned when a key does not open an image: it is not the one that the image was made with.
var ErrWrongKey = errors.New("the key does not open it")

// ErrNotEncrypted is returned for an image that is plain and should not be.
var ErrNotEncrypted = errors.New("image is not encrypted, and should be")

// ErrKeyNeeded is returned for an image that is encrypted and for which no key was given.
var ErrKeyNeeded = errors.New("image is encrypted, and there is no key for it")

// Lengths of a key, in bytes. QEMU derives little work for a guesser from it (see iterationTime): it must not be guessable.
const (
	MinSecretBytes = 32
	MaxSecretBytes = 512
)

// A Secret is the key of encrypted images. Whatever prints it prints no part of it. The zero value is none.
type Secret struct{ text string }

// NewSecret takes a key as it stands in a file, and all of that: what opens the images is the file's content to the last
// byte, so that every other program opens them with the same file. QEMU takes text only. Of text, what a person may lose on
// the way, a blank or a newline at the end, is refused. No error holds any of it.
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
			return Secret{}, fmt.Errorf("byte %d is no nbd.Printable ASCII character, and QEMU takes text only: write the key as base64", i+1)
		}
	}
	return Secret{string(content)}, nil
}

// IsZero says whether there is none.
func (s Secret) IsZero() bool { return s.text == "" }

// String keeps a key out of logs and errors; so does GoString.
func (s Secret) String() string { return "(secret)" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// file is the key in a file that lies in memory and has no name. Whoever is handed it may read it.
func (s Secret) file() (*os.File, error) {
	const name = "key"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("a key cannot be handed over: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt([]byte(s.text), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("a key cannot be handed over: %w", err), f.Close())
	}
	return f, nil
}

// A keyring are the keys that one run of qemu-img is handed, each as a file with no name: no argument and no variable, which
// others may read, and nothing that somebody would have to remove.
type keyring []Secret

// firstKeyFD is the descriptor of the first key: the first of exec.Cmd's ExtraFiles.
const firstKeyFD = 3

// id is how qemu-img knows a key, which is added if it is new; "" for none.
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

// args have qemu-img read the keys.
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
