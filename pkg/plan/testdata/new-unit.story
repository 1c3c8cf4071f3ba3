# A selector admits a unit that did not exist.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> select city=hangzhou
    rz00a: created in hz-1 at r1
    rz00b: created in hz-1 at r1
    rz01a: created in hz-2 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz00b  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> unit rz03a appears on hz-2 city=hangzhou
    rz03a: created in hz-2 at r1
    event UnitAdmitted: the placement's selector now admits rz03a

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz00b  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    rz03a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask rz00a and template v2
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 3 of 4 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz03a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 3 of 4 units are kept as they are by the mask

> unit rz04a appears on hz-2 city=hangzhou
    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz03a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz04a  hz-2    nothing                  held; not placed yet: waiting for the mask
    Propagation is True
    Held is True (Masked): 4 of 5 units are kept as they are by the mask

> mask where city=hangzhou
    rz00b: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2
    rz03a: updated in hz-2 to r2
    rz04a: created in hz-2 at r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz03a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz04a  hz-2    v2 x2, generation 1, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

# A unit that is not ready gets nothing yet.
> unit rz05a appears on sh-1 city=hangzhou and unit rz05a is not ready: waiting for its claim
    warning CheckClusters: rz05a: UnitNotReady

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz03a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz04a  hz-2    v2 x2, generation 1, r2  r2, as asked
    rz05a  sh-1    nothing                  UnitNotReady: unit rz05a is not ready: waiting for its claim
    Propagation is False (CheckClusters): rz05a: UnitNotReady
    Held is False (NothingHeld)

> unit rz05a is ready
    rz05a: created in sh-1 at r2
    event UnitAdmitted: the placement's selector now admits rz05a

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz03a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz04a  hz-2    v2 x2, generation 1, r2  r2, as asked
    rz05a  sh-1    v2 x2, generation 1, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)
