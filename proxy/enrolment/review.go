package enrolment

import (
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/identity"
)

// Reasons of refusals that are about who asks.
const (
	ReasonRequester      = "RequesterNotAllowed"
	ReasonTokenGone      = "TokenGone"
	ReasonTokenExpired   = "TokenExpired"
	ReasonTokenOfAnother = "TokenOfAnotherMember"
	ReasonTokenUsed      = "TokenUsed"
	ReasonMemberUnknown  = "MemberUnknown"
	ReasonEnrolmentEnded = "EnrolmentEnded"
)

// What a bootstrap token's Secret is, as the API server knows it.
const (
	TokenNamespace = "kube-system"

	tokenPrefix     = "bootstrap-token-"
	tokenID         = "token-id"
	tokenExpiration = "expiration"
	tokenUsage      = "usage-bootstrap-authentication"
)

// TokenName is the name of the Secret that has the token of a requester; false if it came with none.
func TokenName(spec certificatesv1.CertificateSigningRequestSpec) (string, bool) {
	id, ok := strings.CutPrefix(spec.Username, identity.BootstrapUserPrefix)
	return tokenPrefix + id, ok && id != ""
}

// Facts are what a request is judged by, as it is now.
type Facts struct {
	Now time.Time
	// Token is the Secret that TokenName names, nil if there is none.
	Token *corev1.Secret
	// Cluster is the KubeFedCluster that the requested identity is of, nil if there is none.
	Cluster *corev1beta1.KubeFedCluster
}

// Verdict is what becomes of a request.
type Verdict struct {
	// Refusal, if there is one, denies it. Otherwise it is granted.
	Refusal *Refusal
	// Bind says that the token has to be bound to the request's public key before the request is granted.
	Bind bool
}

// Review judges a request that was read by who asks.
func Review(r Request, spec certificatesv1.CertificateSigningRequestSpec, f Facts) Verdict {
	_, bears := TokenName(spec)
	switch {
	case bears:
		if refusal := reviewToken(r, spec, f); refusal != nil {
			return Verdict{Refusal: refusal}
		}
	case spec.Username != r.Identity.CommonName():
		return Verdict{Refusal: refuse(ReasonRequester, "%q asks for a certificate of %q: an agent gets one for itself only", spec.Username, r.Identity.CommonName())}
	case !slices.Contains(spec.Groups, identity.Organization):
		return Verdict{Refusal: refuse(ReasonRequester, "%q is not in the group %q", spec.Username, identity.Organization)}
	}
	if refusal := reviewMember(r.Identity, f.Cluster); refusal != nil {
		return Verdict{Refusal: refusal}
	}
	return Verdict{Bind: bears && len(f.Token.Data[identity.TokenPublicKey]) == 0}
}

const joinAnew = "join the member anew with kubectl cellfed join --tunnel"

func reviewToken(r Request, spec certificatesv1.CertificateSigningRequestSpec, f Facts) *Refusal {
	if !slices.Contains(spec.Groups, identity.BootstrapGroup) {
		return refuse(ReasonRequester, "the token of %q is not for agents: it has not the group %q", spec.Username, identity.BootstrapGroup)
	}
	name, _ := TokenName(spec)
	t := f.Token
	switch {
	case t == nil || t.Name != name || t.Namespace != TokenNamespace || t.DeletionTimestamp != nil || t.Type != corev1.SecretTypeBootstrapToken ||
		tokenPrefix+string(t.Data[tokenID]) != name || string(t.Data[tokenUsage]) != "true":
		return refuse(ReasonTokenGone, "the token of %q is gone: %s", spec.Username, joinAnew)
	case expired(t, f.Now):
		return refuse(ReasonTokenExpired, "the token expired: %s", joinAnew)
	case string(t.Data[identity.TokenCluster]) != r.Identity.Cluster || string(t.Data[identity.TokenEnrolment]) != r.Identity.Enrolment:
		return refuse(ReasonTokenOfAnother, "the token is for other agents than those of %s", r.Identity)
	}
	if used := string(t.Data[identity.TokenPublicKey]); used != "" && used != r.Fingerprint {
		return refuse(ReasonTokenUsed, "the token was used already, for another key: if that was not this agent, revoke the member; in any case %s", joinAnew)
	}
	return nil
}

// expired tells whether a token may not be used any more. One that says when in words that are not understood may not.
func expired(token *corev1.Secret, now time.Time) bool {
	said := string(token.Data[tokenExpiration])
	if said == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, said)
	return err != nil || !now.Before(end)
}

func reviewMember(who identity.Identity, cluster *corev1beta1.KubeFedCluster) *Refusal {
	switch {
	case cluster == nil || cluster.Name != who.Cluster || cluster.Namespace != wellknown.FederationNamespace:
		return refuse(ReasonMemberUnknown, "there is no member %q: %s", who.Cluster, joinAnew)
	case cluster.Spec.Tunnel == nil || cluster.Spec.Tunnel.Enrolment == "":
		return refuse(ReasonEnrolmentEnded, "the member %q admits no agents, or none any more: %s", who.Cluster, joinAnew)
	case cluster.Spec.Tunnel.Enrolment != who.Enrolment:
		return refuse(ReasonEnrolmentEnded, "the enrolment %q of the member %q has ended: %s", who.Enrolment, who.Cluster, joinAnew)
	}
	return nil
}

// Spent tells whether a Secret is the token of agents and of no more use, so that it can go.
func Spent(secret *corev1.Secret, now time.Time) bool {
	return secret.Namespace == TokenNamespace && secret.Type == corev1.SecretTypeBootstrapToken && strings.HasPrefix(secret.Name, tokenPrefix) &&
		len(secret.Data[identity.TokenCluster]) > 0 && len(secret.Data[identity.TokenEnrolment]) > 0 && expired(secret, now)
}
