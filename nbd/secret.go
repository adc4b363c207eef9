package nbd

import (
	"errors"
	"fmt"
	"os"

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
			return Secret{}, fmt.Errorf("byte %d is no printable ASCII character, and QEMU takes text only: write the key as base64", i+1)
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

// secretID is how qemu-img knows the one key that it is given, on its standard input.
const secretID = "key"

// secretArgs has qemu-img read the key of a call; nothing where there is none.
func (s Secret) args() []string {
	if s.IsZero() {
		return nil
	}
	return []string{"--object", "secret,id=" + secretID + ",file=/proc/self/fd/0"}
}
