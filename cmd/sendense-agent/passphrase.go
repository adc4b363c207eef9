package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/settings"
	"github.com/sendense/backup-agent/cmd/sendense-agent/setup"
)

// maxSecretInput limits what is read from a descriptor, in bytes.
const maxSecretInput = 64 << 10

// A passphraseFlag is where a passphrase comes from. It is never an argument: other users see those.
type passphraseFlag struct{ fd int }

func (p *passphraseFlag) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.fd, "passphrase-fd", -1, "read the passphrase from this `DESCRIPTOR`, up to its end; without it, the terminal asks")
}

func (p passphraseFlag) given() bool { return p.fd >= 0 }

// read returns the passphrase. A terminal asks twice if it is a new one.
func (p passphraseFlag) read(ctx context.Context, what string, isNew bool) (string, error) {
	if p.given() {
		return readDescriptor(p.fd, "--passphrase-fd")
	}
	questions := []string{what}
	if isNew {
		questions = append(questions, "the same again")
	}
	answers, err := setup.AskSecrets(ctx, questions...)
	switch {
	case errors.Is(err, setup.ErrNoTerminal):
		return "", errors.New("there is no terminal that could ask for the passphrase: use --passphrase-fd, or a key")
	case err != nil:
		return "", fmt.Errorf("no passphrase: %w", err)
	case isNew && answers[0] != answers[1]:
		return "", errors.New("the two passphrases differ")
	}
	return answers[0], nil
}

// readDescriptor reads a secret up to the end of a descriptor. One newline at the end is not part of it.
func readDescriptor(fd int, flag string) (string, error) {
	f := os.NewFile(uintptr(fd), flag)
	if f == nil {
		return "", fmt.Errorf("%s %d: is not a descriptor", flag, fd)
	}
	if fd > 2 {
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretInput))
	if err != nil {
		return "", fmt.Errorf("%s %d cannot be read: open it in the shell, for example %s %d %d<FILE", flag, fd, flag, fd, fd)
	}
	secret := strings.TrimSuffix(string(text), "\n")
	if secret == "" {
		return "", fmt.Errorf("%s %d: nothing was to be read", flag, fd)
	}
	return secret, nil
}

// addPlaces adds the hidden flags for a credential store of another kind of unit.
func addPlaces(cmd *cobra.Command, p *settings.Places) {
	cmd.Flags().StringVar(&p.Store, "credential-store", config.CredentialStore, "directory of keys and passwords")
	cmd.Flags().StringVar(&p.Encrypted, "encrypted-store", config.EncryptedStore, "directory of those that systemd has encrypted")
	for _, name := range []string{"credential-store", "encrypted-store"} {
		if err := cmd.Flags().MarkHidden(name); err != nil {
			panic(err) // there is no such flag
		}
	}
}
