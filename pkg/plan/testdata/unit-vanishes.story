# A unit is gone from the plane: nothing is deleted on doubt, and nothing is finished.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a rz09z
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    warning CheckClusters: rz09z: UnknownUnit

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    rz09z  ?       ?                        UnknownUnit: there is no rz09z of type cell
    Propagation is False (CheckClusters): rz09z: UnknownUnit
    Held is False (NothingHeld)

> unit rz01a vanishes
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  ?       ?                        r1; UnknownUnit: rz01a is not there, and may hold a copy: nothing is done on doubt
    rz09z  ?       ?                        UnknownUnit: there is no rz09z of type cell
    Propagation is False (CheckClusters): rz01a: UnknownUnit; rz09z: UnknownUnit
    Held is False (NothingHeld)

> place rz00a
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  ?       ?                        r1; UnknownUnit: rz01a is not there, and may hold a copy: nothing is done on doubt
    Propagation is False (CheckClusters): rz01a: UnknownUnit
    Held is False (NothingHeld)

> delete
    rz00a: removed from hz-1
    event Deleting: rz01a: UnknownUnit

    cell   member  holds  status
    rz01a  ?       ?      r1; UnknownUnit: rz01a is not there, and may hold a copy: nothing is done on doubt
    Propagation is False (Deleting): rz01a: UnknownUnit
    Held is False (NothingHeld)

> unit rz01a appears on hz-2 city=hangzhou
    rz01a: removed from hz-2
    the federated object is gone

    Nothing is left.
