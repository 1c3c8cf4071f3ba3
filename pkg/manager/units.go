package manager

import (
	"context"

	"github.com/cellfed/cellfed/pkg/controllers/unit"
)

func (a *assembly) addUnits(ctx context.Context) error {
	return unit.New(a.GetClient(), a.GetAPIReader(), a.GetEventRecorder("cellfed-units"), unit.Options{InUse: a.propagation.InUse, RequireGrants: a.requireGrants}).SetupWithManager(ctx, a)
}
