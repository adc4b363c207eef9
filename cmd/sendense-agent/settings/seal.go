package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// MinPassphrase is the length of the shortest passphrase for an export, in bytes. Whoever has the file can try passphrases at leisure.
const MinPassphrase = 12

// Seal encrypts secrets for all of the recipients.
func Seal(secrets Secrets, recipients []age.Recipient) (string, error) {
	var text bytes.Buffer
	armored := armor.NewWriter(&text)
	w, err := age.Encrypt(armored, recipients...)
	if err != nil {
		return "", err
	}
	if err := json.NewEncoder(w).Encode(secrets); err != nil {
		return "", err
	}
	err = errors.Join(w.Close(), armored.Close()) // these write the end
	return text.String(), err
}

// ByPassphrase says whether the secrets of a file were encrypted with a passphrase, and not for the key of a recipient.
func (f *File) ByPassphrase() bool {
	header, err := io.ReadAll(io.LimitReader(armor.NewReader(strings.NewReader(f.Secrets)), 256))
	return len(header) > 0 && (err == nil || errors.Is(err, io.EOF)) && bytes.Contains(header, []byte("\n-> scrypt "))
}

// Open decrypts the secrets of a file. It returns only secrets that the file names.
func (f *File) Open(identities []age.Identity) (Secrets, error) {
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(f.Secrets)), identities...)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong) && f.ByPassphrase():
		return nil, errors.New("the passphrase is wrong: type the one that export-settings was given")
	case errors.As(err, &wrong):
		return nil, errors.New("it is not for this key: give the key that belongs to the --recipient of export-settings")
	case err != nil:
		return nil, fmt.Errorf("its secrets are damaged: %w: copy the file again from where it is kept", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes))
	if err != nil {
		return nil, fmt.Errorf("its secrets are damaged: %w: copy the file again from where it is kept", err)
	}
	var secrets Secrets
	if err := json.Unmarshal(text, &secrets); err != nil {
		return nil, errors.New("its secrets are damaged: they are no JSON") // the error could quote a secret
	}
	listed := map[string]bool{}
	for _, c := range f.Credentials {
		listed[c.Name] = true
	}
	for name, content := range secrets {
		if !listed[name] || len(content) == 0 {
			return nil, fmt.Errorf("its secrets are damaged: %q is empty, or is not in the list of credentials", name)
		}
	}
	return secrets, nil
}
