package member

import (
	"fmt"

	"k8s.io/client-go/metadata"
)

// Metadata returns a client over the member's shared connections that reads no more of objects than their metadata.
func (m *Member) Metadata() (metadata.Interface, error) {
	c, err := metadata.NewForConfigAndClient(metadata.ConfigFor(m.rest), m.client)
	if err != nil {
		return nil, fmt.Errorf("making a client for member %s: %w", m.name, err)
	}
	return c, nil
}
