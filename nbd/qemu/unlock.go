package qemu

import "context"

// Unlock proves that the tools' key opens an image: ErrWrongKey if it does not, ErrNotEncrypted if the image is not encrypted. It
// reads only the header. The image may be served meanwhile.
func (t Tools) Unlock(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	image, _, info, err := t.openImage(path)
	if err != nil {
		return err
	}
	defer image.Close() //nolint:errcheck // only read
	if err := t.checkKey(path, info); err != nil || !info.Encrypted {
		return err
	}
	// "info" does not use the key. "snapshot -l" does: it lists the snapshots inside the image, of which there are none.
	c := call{verb: "snapshot", path: path, image: image, limits: reading()}
	name, err := aloneNode(path, c.keys.id(t.Key)).name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-U", "-q", "-l", "--", name)
	return err
}
