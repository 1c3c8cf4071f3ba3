package host

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// Fingerprints are the public halves of the keys that all servers of a plane share, as hashes that may be shown to
// anybody. They are of keys and not of certificates: a certificate authority that nears its end gets a new certificate
// for the same key, on each server by itself.
func (k Keys) Fingerprints() (map[string]string, error) {
	out := map[string]string{}
	for name, path := range map[string]string{"serving-ca": k.ServingCA, "client-ca": k.ClientCA, "tunnel-ca": k.TunnelCA} {
		cert, err := certificate(path)
		if err != nil {
			return nil, err
		}
		if cert == nil {
			return nil, fmt.Errorf("reading certificate: %s is gone", path)
		}
		out[name] = fingerprint(cert.RawSubjectPublicKeyInfo)
	}
	key, err := privateKey(k.ServiceAccountKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", k.ServiceAccountKey, err)
	}
	out["service-account"] = fingerprint(der)
	return out, nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}
