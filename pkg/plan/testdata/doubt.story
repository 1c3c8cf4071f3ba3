# What cannot be read is held, and never deleted.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask rz00a
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> mask rz00a and template v2
    rz00a: updated in hz-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> garble the placement
    warning OnHold: the object cannot be read: spec.placement: is string, not an object

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2; OnHold: the object cannot be read: spec.placement: is string, not an object
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; OnHold: the object cannot be read: spec.placement: is string, not an object
    Propagation is False (OnHold): the object cannot be read: spec.placement: is string, not an object
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> mend the placement
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> the object is held: feature gate PlacementMask is off
    warning OnHold: feature gate PlacementMask is off

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2; OnHold: feature gate PlacementMask is off
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; OnHold: feature gate PlacementMask is off
    Propagation is False (OnHold): feature gate PlacementMask is off
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> the plane restarts
    Everything stands as before.

> template v3
    Everything stands as before.

> the object is held no more
    rz00a: updated in hz-1 to r3
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> member hz-1 lacks the kind
    warning CheckClusters: rz00a: KindNotInMember

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3; KindNotInMember: member hz-1 does not serve deployments.apps/v1
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is False (CheckClusters): rz00a: KindNotInMember
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> template v4
    Everything stands as before.

> member hz-1 has the kind
    rz00a: updated in hz-1 to r4
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask
