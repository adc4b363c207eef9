package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/settings"
)

// An importSettings is one call of import-settings.
type importSettings struct {
	dryRun, replace, withoutSecrets bool
	identity                        string
	identityFD                      int
	passphrase                      passphraseFlag
	places                          settings.Places
}

// importSettingsCommand reads the settings of another hub; path holds the value of --config.
func importSettingsCommand(path *string) *cobra.Command {
	i := importSettings{}
	cmd := &cobra.Command{
		Use:   "import-settings FILE",
		Short: "Give this hub the settings that export-settings wrote",
		Long: "import-settings reads a file of export-settings, checks all of it, shows what it does, and writes the configuration, the records\n" +
			"of VMs, and the keys and passwords, if the file has them. Stop the daemon first. FILE may be - for standard input.\n\n" +
			"It changes nothing if a different configuration, VM, key or password is there already. With --replace it replaces them, and\n" +
			"keeps copies. It removes nothing: VMs that are not in FILE stay on record.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i.places.Config = *path
			return i.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	cmd.Flags().BoolVarP(&i.dryRun, "dry-run", "n", false, "show what would be done, and change nothing; the daemon may run")
	cmd.Flags().BoolVar(&i.replace, "replace", false, "replace what is different on this hub, and keep a copy of it")
	cmd.Flags().BoolVar(&i.withoutSecrets, "without-secrets", false, "leave out keys and passwords, and do not decrypt them")
	cmd.Flags().StringVar(&i.identity, "identity", "", "`FILE` with the secret key of age that the secrets were encrypted for")
	cmd.Flags().IntVar(&i.identityFD, "identity-fd", -1, "read that secret key from this `DESCRIPTOR`")
	i.passphrase.add(cmd)
	addPlaces(cmd, &i.places)
	offer(cmd, "identity", nil, cobra.ShellCompDirectiveDefault)
	return cmd
}

func (i *importSettings) run(ctx context.Context, w io.Writer, path string) error {
	f, cfg, err := readSettings(path)
	if err != nil {
		return fmt.Errorf("nothing is changed: %s %w", plain(path), err)
	}
	secrets, err := i.open(ctx, f)
	if err != nil {
		return fmt.Errorf("nothing is changed: %s: %w", plain(path), err)
	}
	plan, err := settings.Compare(ctx, i.places, f, cfg, secrets)
	if err != nil {
		return fmt.Errorf("nothing is changed: %w", err)
	}
	if err := printPlan(w, f, plan); err != nil {
		return err
	}
	n := plan.Conflicts()
	switch {
	case n > 0 && !i.replace:
		return fmt.Errorf("nothing is changed: %s of this hub would be replaced, see above: use --replace, which keeps copies", count(n, "setting"))
	case i.dryRun:
		_, err = fmt.Fprintln(w, "nothing is changed: this was a dry run")
		return err
	case os.Geteuid() != 0:
		return errors.New("nothing is changed: run this as root: it writes keys and the configuration")
	}
	copies, err := plan.Apply(version)
	for _, c := range copies {
		fmt.Fprintf(w, "the present one is kept as %s\n", plain(c))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "done: %s. Now mount the repositories, and run:\n  systemctl daemon-reload\n  systemctl restart sendense-agent\n  sendense-agent doctor\n",
		count(plan.Changes(), "setting")+" changed")
	return err
}

func readSettings(path string) (*settings.File, *config.Config, error) {
	in := os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot be read: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, settings.MaxBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", err)
	}
	if len(text) > settings.MaxBytes {
		return nil, nil, errors.New("is not a settings file: it is too large")
	}
	return settings.Decode(text)
}

// open decrypts the secrets of a file, if it has any.
func (i *importSettings) open(ctx context.Context, f *settings.File) (settings.Secrets, error) {
	asked := i.identity != "" || i.identityFD >= 0 || i.passphrase.given()
	switch {
	case f.Secrets == "" && asked:
		return nil, errors.New("it holds no secrets: leave out --identity and --passphrase-fd, or export again with --secrets")
	case f.Secrets == "" || i.withoutSecrets:
		return nil, nil
	case f.ByPassphrase() && (i.identity != "" || i.identityFD >= 0):
		return nil, errors.New("its secrets are encrypted with a passphrase: use --passphrase-fd or the terminal")
	case f.ByPassphrase():
		secret, err := i.passphrase.read(ctx, "passphrase of the settings", false)
		if err != nil {
			return nil, err
		}
		identity, err := age.NewScryptIdentity(secret)
		if err != nil {
			return nil, err
		}
		return f.Open([]age.Identity{identity})
	}
	identities, err := i.identities()
	if err != nil {
		return nil, err
	}
	return f.Open(identities)
}

func (i *importSettings) identities() ([]age.Identity, error) {
	var text string
	switch {
	case i.identityFD >= 0:
		secret, err := readDescriptor(i.identityFD, "--identity-fd")
		if err != nil {
			return nil, err
		}
		text = secret
	case i.identity != "":
		content, err := os.ReadFile(i.identity)
		if err != nil {
			return nil, err
		}
		text = string(content)
	default:
		return nil, errors.New("its secrets are encrypted for a key: give the secret key with --identity, or use --without-secrets")
	}
	list, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, errors.New("the identity is not a secret key of age (AGE-SECRET-KEY-...), as age-keygen makes it") // the error could quote it
	}
	return list, nil
}

func printPlan(w io.Writer, f *settings.File, plan *settings.Plan) error {
	fmt.Fprintf(w, "settings of %s, exported at %s by sendense-agent %s\n", plain(f.Host), f.ExportedAt.Format("2006-01-02 15:04:05 MST"), plain(f.AgentVersion))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACTION\tSETTING\tNAME\tNOTE")
	for _, s := range plan.Steps {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Action, strings.ReplaceAll(s.Kind, "_", " "), plain(s.Name), plain(s.Note))
	}
	return t.Flush()
}
