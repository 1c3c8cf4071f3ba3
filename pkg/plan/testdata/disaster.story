# A member is lost in the middle of a release. Nobody waits for it.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given place rz00a rz01a rz02a
> given mask rz00a rz01a rz02a
> the plane restarts
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    rz02a: created in sh-1 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> member hz-2 goes away
    warning CheckClusters: rz01a: ClusterNotReady

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; ClusterNotReady: member hz-2 is not connected
    rz02a  sh-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is False (CheckClusters): rz01a: ClusterNotReady
    Held is False (NothingHeld)

> template v2
    rz00a: updated in hz-1 to r2
    rz02a: updated in sh-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; ClusterNotReady: member hz-2 is not connected
    rz02a  sh-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is False (CheckClusters): rz01a: ClusterNotReady
    Held is False (NothingHeld)

# Its cell is taken out of the mask before it returns: it comes back as it left.
> mask rz00a rz02a
    event Propagated: every writable unit is as asked
    event UnitsHeld: 1 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; ClusterNotReady: member hz-2 is not connected
    rz02a  sh-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is True (Masked): 1 of 3 units are kept as they are by the mask

> member hz-2 returns
    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is True (Masked): 1 of 3 units are kept as they are by the mask

> template v3
    rz00a: updated in hz-1 to r3
    rz02a: updated in sh-1 to r3

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v3 x2, generation 3, r3  r3, as asked
    Propagation is True
    Held is True (Masked): 1 of 3 units are kept as they are by the mask

# It is admitted again.
> unmask
    rz01a: updated in hz-2 to r3
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v3 x2, generation 2, r3  r3, as asked
    rz02a  sh-1    v3 x2, generation 3, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)

# Lost outside the mask, and back: nothing to do.
> mask rz00a and template v4
    rz00a: updated in hz-1 to r4
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v3 x2, generation 2, r3  r3, held; held at revision r3 by the mask
    rz02a  sh-1    v3 x2, generation 3, r3  r3, held; held at revision r3 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> member sh-1 goes away
    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v3 x2, generation 2, r3  r3, held; held at revision r3 by the mask
    rz02a  sh-1    v3 x2, generation 3, r3  r3, held; ClusterNotReady: member sh-1 is not connected
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> member sh-1 returns
    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v3 x2, generation 2, r3  r3, held; held at revision r3 by the mask
    rz02a  sh-1    v3 x2, generation 3, r3  r3, held; held at revision r3 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask
