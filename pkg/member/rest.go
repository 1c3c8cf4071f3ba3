package member

import (
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// REST returns a client over the member's shared connections that shows the answers as they came. Dynamic hides what
// a member answers to a deletion, and only that says whether the object is gone or still going.
func (m *Member) REST() (rest.Interface, error) {
	config := dynamic.ConfigFor(m.rest)
	config.GroupVersion = nil
	client, err := rest.UnversionedRESTClientForConfigAndClient(config, m.client)
	if err != nil {
		return nil, fmt.Errorf("making a client for member %s: %w", m.name, err)
	}
	return client, nil
}
