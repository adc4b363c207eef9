package qemu

import "context"

// Unlock proves that the tools' key opens an image, of which it reads no more than the header: ErrWrongKey if it does not,
// ErrNotEncrypted if there is nothing to open. It may be served meanwhile.
func (t Tools) Unlock(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	image, _, info, err := t.openImage(path)
	if err != nil {
		return err
	}
	defer image.Close() //nolint:errcheck // only read
	if err := t.fits(path, info); err != nil || !info.Encrypted {
		return err
	}
	// "info" does not care for the key. This lists the snapshots within the image, of which there are none.
	c := call{verb: "snapshot", path: path, image: image, limits: reading()}
	name, err := aloneNode(path, c.keys.id(t.Key)).name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-U", "-q", "-l", "--", name)
	return err
}
