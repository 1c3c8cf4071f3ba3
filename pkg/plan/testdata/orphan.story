# Left behind on request: the marks go, the objects stay.
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

> member hz-2 goes away
    warning CheckClusters: rz01a: ClusterNotReady

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; ClusterNotReady: member hz-2 is not connected
    Propagation is False (CheckClusters): rz01a: ClusterNotReady
    Held is False (NothingHeld)

> orphan and delete
    rz00a: left behind in hz-1, without the plane's marks
    event Deleting: rz01a: ClusterNotReady

    cell   member  holds                             status
    rz01a  hz-2    v1 x2, generation 1, r1           r1; ClusterNotReady: member hz-2 is not connected
    rz00a  hz-1    v1 x2, generation 1, not managed  -
    Propagation is False (Deleting): rz01a: ClusterNotReady
    Held is False (NothingHeld)

> member hz-2 returns
    rz01a: left behind in hz-2, without the plane's marks
    the federated object is gone

    cell   member  holds                             status
    rz00a  hz-1    v1 x2, generation 1, not managed  -
    rz01a  hz-2    v1 x2, generation 1, not managed  -
