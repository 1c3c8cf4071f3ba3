# Topology "cluster": KubeFed's own way of placing, with the mask on top.
> given topology cluster
> given unit hz-1 appears on hz-1 region=east
> given unit hz-2 appears on hz-2 region=east
> given unit sh-1 appears on sh-1 region=west
> place hz-1 sh-1
    hz-1: created in hz-1 at r1
    sh-1: created in sh-1 at r1

    cluster  member  holds                    status
    hz-1     hz-1    v1 x2, generation 1, r1  r1, as asked
    sh-1     sh-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask hz-1 and template v2
    hz-1: updated in hz-1 to r2
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cluster  member  holds                    status
    hz-1     hz-1    v2 x2, generation 2, r2  r2, as asked
    sh-1     sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> unmask
    sh-1: updated in sh-1 to r2
    event UnitsReleased: no unit is held any more

    cluster  member  holds                    status
    hz-1     hz-1    v2 x2, generation 2, r2  r2, as asked
    sh-1     sh-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> select region=east
    hz-2: created in hz-2 at r2
    sh-1: removed from sh-1

    cluster  member  holds                    status
    hz-1     hz-1    v2 x2, generation 2, r2  r2, as asked
    hz-2     hz-2    v2 x2, generation 1, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> member hz-2 goes away
    warning CheckClusters: hz-2: ClusterNotReady

    cluster  member  holds                    status
    hz-1     hz-1    v2 x2, generation 2, r2  r2, as asked
    hz-2     hz-2    v2 x2, generation 1, r2  r2; ClusterNotReady: member hz-2 is not connected
    Propagation is False (CheckClusters): hz-2: ClusterNotReady
    Held is False (NothingHeld)

> delete
    hz-1: removed from hz-1
    event Deleting: hz-2: ClusterNotReady

    cluster  member  holds                    status
    hz-2     hz-2    v2 x2, generation 1, r2  r2; ClusterNotReady: member hz-2 is not connected
    Propagation is False (Deleting): hz-2: ClusterNotReady
    Held is False (NothingHeld)

> member hz-2 returns
    hz-2: removed from hz-2
    the federated object is gone

    Nothing is left.
