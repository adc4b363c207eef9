package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendense-agent/settings"
)

const exportSettings = "export-settings"

// exportSettingsCommand writes the settings of this hub; path holds the value of --config.
func exportSettingsCommand(path *string) *cobra.Command {
	var secrets bool
	var file string
	var recipients []string
	passphrase := passphraseFlag{}
	places := settings.Places{}
	cmd := &cobra.Command{
		Use:   exportSettings,
		Short: "Write the settings of this hub to one file, for the day it dies",
		Long: "export-settings writes what a new hub needs beside its repositories: the configuration, the records of VMs, and the names of\n" +
			"keys and passwords. The daemon may run. Keep the file away from this host and from the repository; import-settings reads it.\n\n" +
			"With --secrets it also holds the keys and passwords themselves, encrypted with age: for the key of a --recipient, or with a\n" +
			"passphrase from a descriptor or the terminal. It never holds them in any other way.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !secrets && (len(recipients) > 0 || passphrase.given()) {
				return errors.New("--recipient and --passphrase-fd are for --secrets")
			}
			var to []age.Recipient
			if secrets {
				var err error
				if to, err = recipientsOf(cmd.Context(), recipients, passphrase); err != nil {
					return err
				}
			}
			places.Config = *path
			f, err := collectSettings(cmd.Context(), places, to)
			if err != nil {
				return err
			}
			text, err := f.Encode()
			if err != nil {
				return err
			}
			if file == "" || file == "-" {
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			if err := writeExport(file, text); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: configuration, %s, %s\n", plain(file), count(len(f.VMs), "VM"), exported(f))
			return nil
		},
	}
	cmd.Flags().BoolVar(&secrets, "secrets", false, "also write keys and passwords, encrypted")
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "age `KEY` that can decrypt them (age1...); may be repeated")
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to this `FILE`, readable only by its owner, instead of standard output")
	passphrase.add(cmd)
	addPlaces(cmd, &places)
	return cmd
}

// collectSettings collects the settings, with the secrets if there is somebody who can decrypt them.
func collectSettings(ctx context.Context, places settings.Places, to []age.Recipient) (*settings.File, error) {
	f, err := settings.Collect(ctx, places, version)
	if err != nil || len(to) == 0 {
		return f, err
	}
	secrets, err := settings.ReadSecrets(ctx, places, f.Credentials)
	if err != nil {
		return nil, err
	}
	f.Secrets, err = settings.Seal(secrets, to)
	return f, err
}

// exported says what the file has of the credentials.
func exported(f *settings.File) string {
	if f.Secrets != "" {
		return count(len(f.Credentials), "key or password") + " encrypted"
	}
	return fmt.Sprintf("the names of %d keys and passwords, and not these themselves", len(f.Credentials))
}

// writeExport writes a file in one step. A device or a pipe is written to as it is.
func writeExport(path string, text []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, text, 0o600)
	}
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithStaticPermissions(0o600), renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("%s: %w", plain(path), err)
	}
	return nil
}

// recipientsOf returns who can decrypt an export.
func recipientsOf(ctx context.Context, keys []string, passphrase passphraseFlag) ([]age.Recipient, error) {
	if len(keys) > 0 && passphrase.given() {
		return nil, errors.New("want --recipient or a passphrase, not both")
	}
	var list []age.Recipient
	for _, key := range keys {
		if strings.HasPrefix(key, "AGE-SECRET-KEY-") {
			return nil, errors.New("--recipient is a secret key: it has been seen now, so make another one, and give its public key (age1...)")
		}
		r, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil {
			return nil, fmt.Errorf("--recipient %s: want a public key of age (age1...), as 'age-keygen -y' prints it", plain(key))
		}
		list = append(list, r...)
	}
	if len(list) > 0 {
		return list, nil
	}
	secret, err := passphrase.read(ctx, "passphrase for the settings", true)
	if err != nil {
		return nil, err
	}
	if len(secret) < settings.MinPassphrase {
		return nil, fmt.Errorf("the passphrase is shorter than %d characters: it would be guessed", settings.MinPassphrase)
	}
	r, err := age.NewScryptRecipient(secret)
	if err != nil {
		return nil, err
	}
	return []age.Recipient{r}, nil
}
