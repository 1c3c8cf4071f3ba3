package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	agents "github.com/cellfed/cellfed/proxy/identity"
)

const (
	// inClusterEndpoint is a member's API server as its pods see it.
	inClusterEndpoint = "https://kubernetes.default.svc"
	// shortestTokenTTL leaves time to carry the printed YAML to the member.
	shortestTokenTTL = time.Minute
	longestTokenTTL  = 30 * 24 * time.Hour
)

// tunnelOptions are the flags of joining through a tunnel.
type tunnelOptions struct {
	on          bool
	servers     []string
	planeURL    string
	tokenTTL    time.Duration
	newIdentity bool
	agentDir    string
	agentImage  string

	plane *rest.Config
}

func (t *tunnelOptions) addFlags(f *pflag.FlagSet) {
	t.tokenTTL = time.Hour
	f.BoolVar(&t.on, "tunnel", false, "The plane cannot reach the member: an agent in the member keeps a tunnel to the plane open")
	f.StringSliceVar(&t.servers, "tunnel-server", nil, "With --tunnel: HOST:PORT of the plane's proxy server as seen from the member; may be repeated (default: those the plane tells)")
	f.StringVar(&t.planeURL, "plane-url", "", "With --tunnel: URL of the plane's API server as seen from the member (default: the one that kubectl uses)")
	f.DurationVar(&t.tokenTTL, "token-ttl", t.tokenTTL, "With --tunnel: how long the agent's token is good; one agent can use it once")
	f.BoolVar(&t.newIdentity, "new-identity", false, "With --tunnel: cut off the member's former agents, whose certificates are worthless from now on")
	f.StringVar(&t.agentDir, "agent-dir", "", "With --tunnel: write what an agent outside of the member's pods needs into this directory, and print its command")
	f.StringVar(&t.agentImage, "agent-image", defaultAgentImage, "With --tunnel: the image with cellfed-agent")
}

// validateTunnel refuses flags that say nothing together.
func (o *joinOptions) validateTunnel() error {
	t := o.tunnel
	if !t.on {
		if len(t.servers) > 0 || t.newIdentity || t.agentDir != "" || t.planeURL != "" {
			return usagef("--tunnel-server, --plane-url, --new-identity and --agent-dir are of --tunnel, which was not given")
		}
		return nil
	}
	for _, s := range t.servers {
		if err := checkHostPort(s); err != nil {
			return usagef("--tunnel-server=%s: %v", s, err)
		}
	}
	if t.tokenTTL < shortestTokenTTL || t.tokenTTL > longestTokenTTL {
		return usagef("--token-ttl=%s: want %s to %s", t.tokenTTL, shortestTokenTTL, longestTokenTTL)
	}
	if u, err := url.Parse(o.endpoint); o.endpoint != "" && (err != nil || u.Scheme != "https" || u.Hostname() == "") {
		return usagef("--member-endpoint=%s is no URL that begins with https://: a token must not travel in the clear", o.endpoint)
	}
	if t.planeURL != "" && !strings.HasPrefix(t.planeURL, "https://") {
		return usagef("--plane-url=%s is not https", t.planeURL)
	}
	if o.dryRun == "client" {
		return usagef("--dry-run=client knows no token and no server of the plane: leave out one of --tunnel and --dry-run")
	}
	return nil
}

func checkHostPort(value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("want HOST:PORT: %w", err)
	}
	if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("want HOST:PORT")
	}
	return nil
}

// tunnelInput is what a member behind a tunnel means for the plane.
func (o *joinOptions) tunnelInput() planeInput {
	in := planeInput{member: o.name, endpoint: o.endpoint, labels: o.labels}
	if in.endpoint == "" {
		in.endpoint = inClusterEndpoint
	}
	return in
}

// runTunnel joins a member that the plane reaches through the member's own agents.
func (o *joinOptions) runTunnel(ctx context.Context) error {
	if !o.tunnel.here() && o.access == nil {
		o.progress = o.errOut // the output is what the member needs
	}
	in := o.tunnelInput()
	if err := o.identify(ctx, &in); err != nil {
		return err
	}
	agent, err := o.agentInput(ctx, in)
	if err != nil {
		return err
	}
	in.enrolment = agent.enrolment
	inMember, err := memberArtefacts(o.name, in.planeUID, o.memberRole)
	if err != nil {
		return err
	}
	if o.member != nil {
		if err := o.checkRole(ctx); err != nil {
			return err
		}
		if err := o.ensureAll(ctx, "member", o.member, inMember); err != nil {
			return err
		}
		if in.token, in.tokenCA, err = o.awaitToken(ctx); err != nil {
			return err
		}
		in.caBundle = in.tokenCA
		agent.handsOver = false
	}
	// Before the plane gets other credentials: agents that were told to hand theirs over must not be able to any more.
	if !agent.handsOver {
		if err := o.withdrawLeave(ctx); err != nil {
			return err
		}
	}
	onPlane, err := planeArtefacts(in)
	if err != nil {
		return err
	}
	enrol, err := enrolmentArtefacts(agent)
	if err != nil {
		return err
	}
	if err := o.ensureAll(ctx, "plane", o.plane, append(onPlane, enrol...)); err != nil {
		return err
	}
	return o.equipAgent(ctx, agent, inMember)
}

// agentInput is what the agents of a member are told.
type agentInput struct {
	member, planeUID, enrolment string
	servers                     []string
	planeURL                    string
	planeCA                     []byte
	tokenID, tokenSecret        string
	expires                     time.Time
	endpoint                    string // the member's API server as the agent sees it
	image                       string
	// handsOver says that the agent brings the service account's token to the plane, because join cannot read it.
	handsOver bool
}

func (a agentInput) identity() agents.Identity {
	return agents.Identity{Cluster: a.member, Enrolment: a.enrolment}
}

func (o *joinOptions) agentInput(ctx context.Context, in planeInput) (agentInput, error) {
	t := o.tunnel
	a := agentInput{
		member: o.name, planeUID: in.planeUID, endpoint: in.endpoint, image: t.agentImage, handsOver: true,
		planeURL: t.planeURL, servers: t.servers, expires: time.Now().Add(t.tokenTTL).UTC().Truncate(time.Second),
	}
	plane := rest.CopyConfig(t.plane)
	if err := rest.LoadTLSFiles(plane); err != nil {
		return a, fmt.Errorf("reading the plane's certificate authority: %w", err)
	}
	if a.planeCA = plane.CAData; len(a.planeCA) == 0 {
		return a, fmt.Errorf("the kubeconfig of the plane names no certificate authority, which the agent needs")
	}
	if a.planeURL == "" {
		url, _, err := rest.DefaultServerUrlFor(plane)
		if err != nil {
			return a, fmt.Errorf("reading the plane's address: %w", err)
		}
		a.planeURL = strings.TrimSuffix(url.String(), "/")
	}
	var err error
	if len(a.servers) == 0 {
		if a.servers, err = o.toldServers(ctx); err != nil {
			return a, err
		}
	}
	if a.enrolment, err = o.enrolment(ctx); err != nil {
		return a, err
	}
	a.tokenID, a.tokenSecret = randomWord(6), randomWord(16)
	return a, nil
}

// toldServers are the proxy servers that the plane says it has.
func (o *joinOptions) toldServers(ctx context.Context) ([]string, error) {
	told, err := get[corev1.ConfigMap](ctx, o.plane, configMaps, wellknown.FederationNamespace, wellknown.TunnelServersConfigMap)
	if err != nil {
		return nil, err
	}
	if told == nil || len(told.Data) == 0 {
		return nil, fmt.Errorf("the plane tells of no proxy server: is it started with --tunnel-port? Give --tunnel-server for one that runs by itself")
	}
	servers := slices.Sorted(maps.Values(told.Data))
	return slices.Compact(servers), nil
}

// enrolment is the one that the member has, or a new one.
func (o *joinOptions) enrolment(ctx context.Context) (string, error) {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
	if err != nil {
		return "", asPlane(err)
	}
	if kfc != nil && kfc.Spec.Tunnel != nil && kfc.Spec.Tunnel.Enrolment != "" && !o.tunnel.newIdentity {
		return kfc.Spec.Tunnel.Enrolment, nil
	}
	return randomWord(16), nil
}

// randomWord is made of letters and digits, as tokens and enrolments are: five bits of chance each.
func randomWord(length int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	raw := make([]byte, length)
	_, _ = rand.Read(raw) // it never fails
	for i, b := range raw {
		raw[i] = letters[b%byte(len(letters))]
	}
	return string(raw)
}

// withdrawLeave takes the leave to write the member's credentials from whatever agents have it.
func (o *joinOptions) withdrawLeave(ctx context.Context) error {
	return deleteLeave(ctx, o.plane, o.name, func(what string) { o.say("plane: %s deleted", what) })
}

// enrolmentArtefacts are what the plane holds for a member's agents: the token, and leave to hand over credentials.
func enrolmentArtefacts(a agentInput) ([]artefact, error) {
	marks := joinMarks(a.member, a.planeUID)
	token, err := newArtefact(secrets, "Secret", false, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + a.tokenID, Labels: marks},
		Type:       corev1.SecretType("bootstrap.kubernetes.io/token"),
		Data: map[string][]byte{
			"token-id": []byte(a.tokenID), "token-secret": []byte(a.tokenSecret), "expiration": []byte(a.expires.Format(time.RFC3339)),
			"usage-bootstrap-authentication": []byte("true"), "auth-extra-groups": []byte(agents.BootstrapGroup),
			agents.TokenCluster: []byte(a.member), agents.TokenEnrolment: []byte(a.enrolment),
			"description": []byte("lets one agent of member " + a.member + " ask for its first certificate"),
		},
	})
	if err != nil || !a.handsOver {
		return []artefact{token}, err
	}
	// Agents of this enrolment may write the member's credentials, and no other secret.
	here := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: agentName(a.member), Labels: marks}
	role, err := newArtefact(roles, "Role", false, &rbacv1.Role{ObjectMeta: here, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{accountName(a.member)}, Verbs: []string{"get", "update", "patch"},
	}}})
	if err != nil {
		return nil, err
	}
	binding, err := newArtefact(roleBindings, "RoleBinding", false, &rbacv1.RoleBinding{
		ObjectMeta: here,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: a.identity().CommonName()}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: here.Name},
	})
	return []artefact{role, binding, token}, err
}
