package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"
)

// Transport is a pool of HTTP connections to one member that shares nothing with any other: it can be cut as a whole,
// and a change of credentials cannot reach an old connection.
type Transport struct {
	http.RoundTripper

	base  *http.Transport
	conns *connrotation.Dialer
}

// NewTransport returns a pool for the member. Dialling ends with ctx.
func NewTransport(ctx context.Context, name string, config Config, opts Options) (*Transport, error) {
	opts = opts.withDefaults()
	if config.REST == nil {
		return nil, fmt.Errorf("setting up the transport to member %s: there is no configuration", name)
	}
	tlsConfig, err := config.tlsConfig()
	if err != nil {
		return nil, fmt.Errorf("setting up TLS for member %s: %w", name, err)
	}
	dial := DialFunc((&net.Dialer{Timeout: opts.DialTimeout, KeepAlive: 15 * time.Second}).DialContext)
	if config.Tunnel {
		dial = opts.throughTunnel(name)
	} else if opts.Dialer != nil {
		if own := opts.Dialer(name); own != nil {
			dial = own
		}
	}
	conns := connrotation.NewDialer(connrotation.DialFunc(fenced(dial, opts.Fence)))
	base := utilnet.SetTransportDefaults(&http.Transport{
		Proxy:                 config.proxy(),
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   opts.TLSTimeout,
		ResponseHeaderTimeout: opts.HeaderTimeout,
		MaxIdleConnsPerHost:   25,
		// What a member sends and nobody has read yet, or reads only in part, is kept in memory.
		MaxResponseHeaderBytes: 256 << 10,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: 512 << 10, MaxReceiveBufferPerConnection: 8 << 20},
		IdleConnTimeout:        90 * time.Second,
		DialContext: func(callCtx context.Context, network, address string) (net.Conn, error) {
			return dialWithin(ctx, callCtx, conns, network, address)
		},
	})
	restConfig := config.restConfig(opts)
	transportConfig, err := restConfig.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("setting up the transport to member %s: %w", name, err)
	}
	rt, err := transport.HTTPWrappersForConfig(transportConfig, base)
	if err != nil {
		return nil, fmt.Errorf("setting up the transport to member %s: %w", name, err)
	}
	return &Transport{RoundTripper: rt, base: base, conns: conns}, nil
}

// dialWithin dials for a call, but not beyond the life of the pool.
func dialWithin(life, call context.Context, conns *connrotation.Dialer, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(call)
	defer cancel(nil)
	defer context.AfterFunc(life, func() { cancel(context.Cause(life)) })()
	conn, err := conns.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if life.Err() != nil { // the pool may have been cut between the dial and its being tracked
		conn.Close()
		return nil, context.Cause(life)
	}
	return conn, nil
}

// Cut closes every connection of the pool, with the calls on them.
func (t *Transport) Cut() {
	t.conns.CloseAll()
	t.base.CloseIdleConnections()
}

// tlsConfig is what the configuration says about TLS. The checks that users may switch off one by one are the ones
// that KubeFed has.
func (c Config) tlsConfig() (*tls.Config, error) {
	conf, err := rest.TLSConfigFor(c.REST)
	if err != nil {
		return nil, err
	}
	if conf == nil {
		conf = &tls.Config{}
	}
	conf.MinVersion = tls.VersionTLS12
	if !c.SkipSubjectName && !c.SkipValidityPeriod {
		return conf, nil
	}
	// The standard verification cannot be had in parts: it is switched off and done by hand.
	roots, serverName := conf.RootCAs, conf.ServerName
	if serverName == "" {
		u, err := url.Parse(c.REST.Host)
		if err != nil {
			return nil, errors.New("the endpoint is no URL")
		}
		serverName = u.Hostname()
	}
	conf.InsecureSkipVerify = true
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		return c.verify(state.PeerCertificates, roots, serverName)
	}
	return conf, nil
}

func (c Config) verify(chain []*x509.Certificate, roots *x509.CertPool, serverName string) error {
	if len(chain) == 0 {
		return errors.New("the member showed no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), DNSName: serverName}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if c.SkipSubjectName {
		opts.DNSName = ""
	}
	if c.SkipValidityPeriod {
		opts.CurrentTime = chain[0].NotBefore.Add(time.Second)
	}
	_, err := chain[0].Verify(opts)
	return err
}

// watched is the transport of a Member: it refuses calls once the connection has ended, and reports calls that say
// something about the member's health.
type watched struct {
	member *Member
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	m := w.member
	if m.ctx.Err() != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, context.Cause(m.ctx)
	}
	resp, err := w.admitted(req)
	if err != nil {
		if m.ctx.Err() != nil {
			return nil, context.Cause(m.ctx)
		}
		var busy *BusyError
		var kept *fencedError
		if !errors.Is(err, context.Canceled) && !errors.As(err, &busy) && !errors.As(err, &kept) {
			m.fleet.Suspect(m.name)
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		m.fleet.Suspect(m.name)
	}
	m.measured(req, resp)
	return resp, nil
}

// admitted makes the call when the member lets the plane in, and once more if it said only then that it is busy: such
// a call was not carried out.
func (w *watched) admitted(req *http.Request) (*http.Response, error) {
	g := &w.member.gate
	for again := true; ; again = false {
		tries, err := g.enter(req.Context())
		if err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
		if err := w.mayGo(req); err != nil {
			g.leave(tries, nil)
			return nil, err
		}
		resp, err := w.next.RoundTrip(req)
		g.leave(tries, resp)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || !again {
			return resp, err
		}
		if req.Body != nil {
			if req.GetBody == nil {
				return resp, nil
			}
			body, err := req.GetBody()
			if err != nil {
				return resp, nil //nolint:nilerr // the member's answer says more
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
		resp.Body.Close()
	}
}

// WrappedRoundTripper lets client-go find the transport below.
func (w *watched) WrappedRoundTripper() http.RoundTripper { return w.next }
