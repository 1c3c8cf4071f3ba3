# A member refuses: the last confirmed revision stays on record, and after a pause it is tried again.
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

> member hz-2 refuses writes: exceeded quota
    Everything stands as before.

> template v2
    rz00a: updated in hz-1 to r2
    rz01a: the update fails, member hz-2: exceeded quota
    warning CheckClusters: rz01a: UpdateFailed

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; UpdateFailed: member hz-2: exceeded quota
    Propagation is False (CheckClusters): rz01a: UpdateFailed
    Held is False (NothingHeld)

> template v3
    rz00a: updated in hz-1 to r3
    rz01a: the update fails, member hz-2: exceeded quota

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; UpdateFailed: member hz-2: exceeded quota
    Propagation is False (CheckClusters): rz01a: UpdateFailed
    Held is False (NothingHeld)

> member hz-2 accepts writes
    Everything stands as before.

> the pause after failures is over
    rz01a: updated in hz-2 to r3
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v3 x2, generation 2, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)

> member hz-2 refuses writes: exceeded quota
    Everything stands as before.

> mask rz00a and someone edits rz01a
    rz01a: the update fails, member hz-2: exceeded quota
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                        status
    rz00a  hz-1    v3 x2, generation 3, r3      r3, as asked
    rz01a  hz-2    broken x2, generation 3, r3  r3, held; UpdateFailed: member hz-2: exceeded quota
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> unmask and place rz00a
    rz01a: the delete fails, member hz-2: exceeded quota
    warning CheckClusters: rz01a: DeletionFailed
    event UnitsReleased: no unit is held any more

    cell   member  holds                        status
    rz00a  hz-1    v3 x2, generation 3, r3      r3, as asked
    rz01a  hz-2    broken x2, generation 3, r3  r3; DeletionFailed: member hz-2: exceeded quota
    Propagation is False (CheckClusters): rz01a: DeletionFailed
    Held is False (NothingHeld)

> member hz-2 accepts writes
    Everything stands as before.

> the pause after failures is over
    rz01a: removed from hz-2
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)
