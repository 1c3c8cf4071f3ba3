package credential

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
)

// Enrolling says where and as whom to ask.
type Enrolling struct {
	// Plane is the URL of the plane's API server, and CA whom to trust there.
	Plane string
	CA    func() (*x509.CertPool, error)
	// TokenFile has a bootstrap token. It may be missing: then a certificate that is there is renewed, and none is got.
	TokenFile string
	// Identity is who to be.
	Identity identity.Identity
	Store    Store
	// Duration is how long certificates shall last; 0 leaves it to the plane.
	Duration  time.Duration
	UserAgent string
	Logger    *slog.Logger

	// MinPause and MaxPause bound the pauses after failures (1s, 1m); Poll is how often is asked for an answer (0.5s).
	MinPause, MaxPause, Poll time.Duration
	// DeniedPause is the pause after a first denial (1m), which doubles three times: another answer comes only when somebody
	// does something.
	DeniedPause time.Duration
	// Now is the clock (the real one).
	Now func() time.Time
	// Look is how often what is kept is read again, in case another agent of the member has renewed it (1m).
	Look time.Duration
}

// Enroller gets a certificate from the plane and keeps it good.
type Enroller struct {
	current
	o Enrolling
	// settled says that the last step found nothing to do.
	settled bool
	// told is the last thing that was told of what goes wrong.
	told string
}

// NewEnroller returns an enroller that does nothing until it is run.
func NewEnroller(o Enrolling) (*Enroller, error) {
	if back, err := identity.Parse(o.Identity.CommonName()); err != nil || back != o.Identity {
		return nil, fmt.Errorf("the cluster %q and the enrolment %q are no identity of an agent: %w", o.Identity.Cluster, o.Identity.Enrolment, err)
	}
	if !strings.HasPrefix(o.Plane, "https://") {
		return nil, fmt.Errorf("the plane %q is not a URL with https://", o.Plane)
	}
	orElse(&o.MinPause, time.Second)
	orElse(&o.MaxPause, time.Minute)
	orElse(&o.Poll, 500*time.Millisecond)
	orElse(&o.DeniedPause, time.Minute)
	orElse(&o.Look, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Enroller{o: o}, nil
}

func orElse(v *time.Duration, value time.Duration) {
	if *v == 0 {
		*v = value
	}
}

// deniedError is that the plane has said no.
type deniedError struct{ reason, message string }

func (e *deniedError) Error() string {
	return fmt.Sprintf("the plane denied the certificate (%s): %s", e.reason, e.message)
}

// errNothing is that there is nothing to ask with.
var errNothing = errors.New("there is no certificate that is good, and no bootstrap token to get one with: join the member anew with kubectl cellfed join --tunnel")

// Run keeps the certificate good until ctx ends.
func (e *Enroller) Run(ctx context.Context) {
	for failures, denials := 0, 0; ; {
		e.settled = false
		wait, err := e.step(ctx)
		if ctx.Err() != nil {
			return
		}
		var denied *deniedError
		switch {
		case err == nil && e.settled:
			failures, denials, e.told = 0, 0, ""
		case err == nil: // on the way, perhaps to the next denial
			failures = 0
		case errors.Is(err, ErrConflict): // another agent of the member was faster: look at what it made
			wait = e.o.Poll
		default:
			if e.told != err.Error() {
				e.o.Logger.Warn("Could not get a certificate; trying again", "agent", e.o.Identity.String(), "error", err)
			}
			e.told = err.Error()
			wait = min(e.o.MinPause<<min(failures, 16), e.o.MaxPause)
			if errors.As(err, &denied) { // each attempt leaves a request at the plane for an hour
				wait = e.o.DeniedPause << min(denials, 3)
				denials++
			}
			failures++
		}
		if !pause(ctx, wait/2+mrand.N(wait/2+1)) {
			return
		}
	}
}

// step looks at what is kept and does the next thing. It returns how long to wait until the one after.
func (e *Enroller) step(ctx context.Context) (time.Duration, error) {
	kept, err := e.o.Store.Load(ctx)
	if err != nil {
		return 0, err
	}
	s, err := understand(kept)
	if err != nil {
		e.o.Logger.Warn("Leaving out what cannot be read of the state", "state", e.o.Store.String(), "error", err)
	}
	if s.pair != nil && !e.ours(s.pair) {
		e.o.Logger.Warn("Leaving out a certificate of another agent", "state", e.o.Store.String())
		s.pair, s.pairPEM, s.keyPEM = nil, nil, nil
	}
	now := e.o.Now()
	good := s.pair != nil && now.Before(s.pair.Leaf.NotAfter)
	if good {
		e.set(s.pair)
	}
	if good && s.pending == nil && now.Before(renewal(s.pair.Leaf)) {
		e.settled = true
		return min(renewal(s.pair.Leaf).Sub(now), e.o.Look), nil
	}
	asking := api{base: e.o.Plane, roots: e.o.CA, userAgent: e.o.UserAgent}
	if good {
		asking.certificate = s.pair
	} else if asking.token, err = e.token(); err != nil {
		return 0, err
	}
	if s.pending == nil {
		// A token is good for one key: one that was used by this agent before is good for the same one only.
		var key []byte
		if !good {
			key = s.keyPEM
		}
		if s.pending, err = newPending(key); err != nil {
			return 0, err
		}
		// The version that is read back is the one that the answer is written over.
		return time.Millisecond, e.save(ctx, s)
	}
	return e.ask(ctx, asking, s)
}

func (e *Enroller) save(ctx context.Context, s state) error {
	k, err := s.kept()
	if err != nil {
		return err
	}
	return e.o.Store.Save(ctx, k)
}

// ours tells whether a certificate names this agent.
func (e *Enroller) ours(pair *tls.Certificate) bool {
	who, err := identity.FromCertificate(pair.Leaf)
	return err == nil && who == e.o.Identity
}

// renewal is when a certificate is renewed: at 70 to 90 % of its life, at the same moment whenever it is asked.
func renewal(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	share := 0.7
	if sum := leaf.Signature; len(sum) > 0 {
		share += 0.2 * float64(sum[len(sum)-1]) / 256
	}
	return leaf.NotBefore.Add(time.Duration(float64(life) * share))
}

func (e *Enroller) token() (string, error) {
	if e.o.TokenFile == "" {
		return "", errNothing
	}
	data, err := os.ReadFile(e.o.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNothing
	}
	if err != nil {
		return "", fmt.Errorf("reading the bootstrap token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", errNothing
	}
	return token, nil
}

const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// ask makes the request, unless it is there already, and waits for its answer.
func (e *Enroller) ask(ctx context.Context, a api, s state) (time.Duration, error) {
	var got signingRequest
	err := a.do(ctx, http.MethodGet, requests+"/"+s.pending.Request, "", nil, &got)
	if isStatus(err, http.StatusNotFound) {
		var made *signingRequest
		if made, err = e.request(s.pending); err != nil {
			return 0, err
		}
		err = a.do(ctx, http.MethodPost, requests, plainJSON, made, &got)
		if isStatus(err, http.StatusConflict) { // another agent of the member made it just now
			return e.o.Poll, nil
		}
	}
	if isStatus(err, http.StatusUnauthorized) && a.token != "" {
		return 0, &deniedError{"Unauthorized", "the bootstrap token has expired, or is not the plane's: join the member anew with kubectl cellfed join --tunnel"}
	}
	if err != nil {
		return 0, fmt.Errorf("asking the plane for a certificate: %w", err)
	}
	if len(got.Status.Certificate) > 0 {
		return e.accept(ctx, s, got.Status.Certificate)
	}
	for _, c := range got.Status.Conditions {
		if c.Type == "Denied" || c.Type == "Failed" {
			// The key stays: the token may be bound to it. The next request needs a name of its own.
			if s.pending, err = newPending([]byte(s.pending.Key)); err != nil {
				return 0, err
			}
			return 0, errors.Join(&deniedError{c.Reason, c.Message}, e.save(ctx, s))
		}
	}
	return e.o.Poll, nil
}

func (e *Enroller) request(p *pending) (*signingRequest, error) {
	key, err := p.signer()
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: e.o.Identity.CommonName(), Organization: []string{identity.Organization}},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	r := &signingRequest{APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest", Metadata: meta{Name: p.Request}}
	r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	r.Spec.SignerName = identity.SignerName
	r.Spec.Usages = []string{"client auth", "digital signature"}
	if e.o.Duration > 0 {
		seconds := int32(e.o.Duration / time.Second)
		r.Spec.ExpirationSeconds = &seconds
	}
	return r, nil
}

// accept keeps what the plane has signed, and has it used from then on.
func (e *Enroller) accept(ctx context.Context, s state, certificate []byte) (time.Duration, error) {
	both := append(append([]byte(nil), certificate...), s.pending.Key...)
	pair, err := tls.X509KeyPair(both, both)
	if err == nil && !e.ours(&pair) {
		err = errors.New("it is another agent's")
	}
	if err == nil && !e.o.Now().Before(pair.Leaf.NotAfter) {
		err = fmt.Errorf("it ended %s: the answer was not fetched in time, or this machine's clock is wrong", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil {
		again, newErr := newPending([]byte(s.pending.Key))
		if newErr != nil {
			return 0, newErr
		}
		s.pending = again
		return 0, errors.Join(fmt.Errorf("the certificate from the plane is of no use: %w", err), e.save(ctx, s))
	}
	s.pairPEM, s.pending = both, nil
	if err := e.save(ctx, s); err != nil {
		return 0, err
	}
	e.set(&pair)
	e.o.Logger.Info("Got a certificate", "agent", e.o.Identity.String(), "until", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return time.Millisecond, nil
}
