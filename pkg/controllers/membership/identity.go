package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of what the plane says of a member's identity.
const (
	// ReasonChanged: another cluster answers where the member was.
	ReasonChanged = "ClusterChanged"
	// ReasonNotIdentified: who answers cannot be told now, and was known once.
	ReasonNotIdentified = "ClusterNotIdentified"
)

// identityPeriod is how often a member that stays connected is asked who it is.
const identityPeriod = time.Minute

// identity is what a member answered when it was asked who it is: the UID of the namespace that every API server makes
// at its first start and lets nobody delete.
type identity struct {
	uid string
	// problem says why there is no uid. silent: no answer came that says anything, so the question is open; else the
	// member answers and will not tell.
	problem string
	silent  bool
}

// whoIs asks a member who it is.
func whoIs(ctx context.Context, client *http.Client, base string, timeout time.Duration) identity {
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		code, body, err := get(ctx, client, base+"/api/v1/namespaces/"+name, timeout)
		var found metav1.PartialObjectMetadata
		switch {
		case err != nil:
			return identity{problem: unreachable(err, timeout).message, silent: true}
		case code == http.StatusNotFound:
			continue
		case code == http.StatusForbidden:
			return identity{problem: fmt.Sprintf("the plane's credentials do not let it read the member's namespace %s (403)", name)}
		case code != http.StatusOK:
			return identity{problem: fmt.Sprintf("reading the member's namespace %s: %d %s", name, code, http.StatusText(code)), silent: true}
		case json.Unmarshal([]byte(body), &found) != nil || found.UID == "":
			return identity{problem: fmt.Sprintf("the member's namespace %s says no UID", name)}
		}
		return identity{uid: string(found.UID)}
	}
	return identity{problem: fmt.Sprintf("the member has neither a namespace %s nor %s", metav1.NamespaceSystem, metav1.NamespaceDefault)}
}

// judge is what a healthy member is said to be, given who it was (pinned, "" = nobody has been recorded yet) and who it
// says it is. A member that may not be asked is believed; one that was known and cannot be asked now is not.
func judge(healthy result, pinned string, now identity) result {
	switch {
	case now.uid != "" && pinned == "":
		return result{reachable: true, pinning: true, reason: ReasonNotIdentified, version: healthy.version,
			message: "the member's identity is being recorded"}
	case now.uid != "" && pinned != now.uid:
		return result{reachable: true, reason: ReasonChanged, version: healthy.version, message: fmt.Sprintf(
			"another cluster answers (%s) than the one that this member was (%s): nothing is read or written there. Point the member back to its cluster; "+
				"or, if the new cluster shall be the member, remove the annotation cellfed.io/member-uid, and give the former one up with kubectl cellfed abandon", now.uid, pinned)}
	case now.silent && pinned != "":
		return result{reachable: true, reason: ReasonNotIdentified, version: healthy.version,
			message: "whether it is still the same cluster cannot be told: " + now.problem}
	}
	return healthy
}
