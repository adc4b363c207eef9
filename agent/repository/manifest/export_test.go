package manifest

// EncodeUnsealed is Encode without the digest, as older agents wrote manifests.
func (m Manifest) EncodeUnsealed() ([]byte, error) { return m.encode() }
