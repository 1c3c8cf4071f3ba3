package credential

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"
)

// Delivery says what to keep equal to what.
type Delivery struct {
	// Plane is the URL of the plane's API server, and CA whom to trust there.
	Plane string
	CA    func() (*x509.CertPool, error)
	// Current is the certificate to come with.
	Current func() (*tls.Certificate, <-chan struct{})
	// Namespace and Name are of the Secret at the plane. It has to be there.
	Namespace, Name string
	// TokenFile is for its key token, CAFile, if there is one, for its key ca.crt.
	TokenFile, CAFile string
	UserAgent         string
	Logger            *slog.Logger

	// Look is how often the files are looked at (10s), Compare how often the Secret is, files unchanged (10m).
	Look, Compare time.Duration
}

// Deliverer keeps a Secret at the plane equal to files in the member: for members in which nobody but the agent may read
// the token that the plane comes with.
type Deliverer struct {
	d         Delivery
	delivered map[string][]byte
	compared  time.Time
	told      string
}

// NewDeliverer returns a deliverer that does nothing until it is run.
func NewDeliverer(d Delivery) *Deliverer {
	orElse(&d.Look, lookAgain)
	orElse(&d.Compare, 10*time.Minute)
	return &Deliverer{d: d}
}

// Run delivers until ctx ends.
func (d *Deliverer) Run(ctx context.Context) {
	for {
		err := d.step(ctx)
		if err != nil && ctx.Err() == nil && d.told != err.Error() {
			d.told = err.Error()
			d.d.Logger.Warn("Could not bring the token to the plane; trying again", "secret", d.d.Namespace+"/"+d.d.Name, "error", err)
		} else if err == nil {
			d.told = ""
		}
		if !pause(ctx, d.d.Look) {
			return
		}
	}
}

func (d *Deliverer) step(ctx context.Context) error {
	want := map[string][]byte{}
	for key, file := range map[string]string{"token": d.d.TokenFile, "ca.crt": d.d.CAFile} {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading what to bring: %w", err)
		}
		if data = bytes.TrimSpace(data); len(data) == 0 {
			return fmt.Errorf("reading what to bring: %s is empty", file)
		}
		want[key] = data
	}
	if holds(d.delivered, want) && time.Since(d.compared) < d.d.Compare {
		return nil
	}
	certificate, _ := d.d.Current()
	if certificate == nil {
		return errors.New("there is no certificate to come with yet")
	}
	a := api{base: d.d.Plane, roots: d.d.CA, certificate: certificate, userAgent: d.d.UserAgent}
	path := secretPath(d.d.Namespace, d.d.Name)
	var there secret
	if err := a.do(ctx, http.MethodGet, path, "", nil, &there); err != nil {
		return fmt.Errorf("reading the Secret: %w", err)
	}
	if !holds(there.Data, want) {
		if err := a.do(ctx, http.MethodPatch, path, mergePatch, secret{Data: want}, &there); err != nil {
			return fmt.Errorf("writing the Secret: %w", err)
		}
		d.d.Logger.Info("Brought the token to the plane", "secret", d.d.Namespace+"/"+d.d.Name)
	}
	d.delivered, d.compared = want, time.Now()
	return nil
}

// holds tells whether data has all of what is wanted.
func holds(data, want map[string][]byte) bool {
	for key, value := range want {
		if have, there := data[key]; !there || !bytes.Equal(have, value) {
			return false
		}
	}
	return true
}
