# A cell leaves the placement while the mask keeps it.
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

> mask rz00a
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> place rz00a rz01a
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> template v2
    rz00a: updated in hz-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

# Back in the placement before the mask saw it: as if nothing had been.
> place rz00a rz01a rz02a
    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

# Out again, and admitted.
> place rz00a rz01a
    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> mask rz00a rz02a
    rz02a: removed from sh-1

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

# Without a mask it goes at once.
> unmask
    rz01a: updated in hz-2 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> place rz00a
    rz01a: removed from hz-2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> place nothing
    rz00a: removed from hz-1

    Propagation is True
    Held is False (NothingHeld)
