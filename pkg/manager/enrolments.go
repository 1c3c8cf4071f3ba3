package manager

import (
	"context"

	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/controllers/enrolment"
)

// TunnelCA are the files of the authority that signs the certificates of members' agents.
type TunnelCA struct{ CertFile, KeyFile string }

func (a *assembly) addEnrolments(ctx context.Context) error {
	return enrolment.New(a.GetClient(), a.GetAPIReader(), enrolment.Options{
		CertFile: a.opts.TunnelCA.CertFile, KeyFile: a.opts.TunnelCA.KeyFile, Logger: klog.FromContext(ctx),
	}).SetupWithManager(a)
}
