# Deletion ends when every place that may hold a copy has said that it does not.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a rz02a
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

# The mask keeps nothing from being deleted.
> mask rz00a
    event Propagated: every writable unit is as asked
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; ClusterNotReady: member hz-2 is not connected
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> delete
    rz00a: removed from hz-1
    rz02a: removed from sh-1
    event Deleting: rz01a: ClusterNotReady
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz01a  hz-2    v1 x2, generation 1, r1  r1; ClusterNotReady: member hz-2 is not connected
    Propagation is False (Deleting): rz01a: ClusterNotReady
    Held is False (NothingHeld)

> the plane restarts
    Everything stands as before.

> member hz-2 returns
    rz01a: removed from hz-2
    the federated object is gone

    Nothing is left.
