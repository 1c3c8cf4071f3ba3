package manager

import (
	"context"

	"github.com/cellfed/cellfed/pkg/controllers/unit"
)

func (a *assembly) addUnits(ctx context.Context) error {
	a.units = unit.New(a.GetClient(), a.GetAPIReader(), a.GetEventRecorder("cellfed-units"), unit.Options{InUse: a.propagation.InUse, RequireGrants: a.requireGrants})
	return a.units.SetupWithManager(ctx, a)
}
