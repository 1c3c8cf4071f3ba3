# The plane's objects come back from a backup without their status: the marks in the members tell where the copies are.
> given unit rz00a appears on hz-1 city=hangzhou
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

> mask rz00a and template v2
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> the status is lost and the plane restarts
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    Everything stands as before.

> the status is lost and the plane restarts and place rz00a
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  held, may hold a copy; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    rz02a  sh-1    v1 x2, generation 1, r1  held, may hold a copy; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> unmask
    rz01a: removed from hz-2
    rz02a: removed from sh-1
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)
