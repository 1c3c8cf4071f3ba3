# A mask that is there and empty: nothing changes anywhere, whatever is asked.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a and mask nothing
    event UnitsHeld: 2 of 2 units are kept as they are by the mask

    cell   member  holds    status
    rz00a  hz-1    nothing  held; not placed yet: waiting for the mask
    rz01a  hz-2    nothing  held; not placed yet: waiting for the mask
    Propagation is True
    Held is True (Masked): 2 of 2 units are kept as they are by the mask

> unmask
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask nothing
    event UnitsHeld: 2 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 2 units are kept as they are by the mask

> template v2
    Everything stands as before.

> override rz00a /spec/replicas 5
    Everything stands as before.

> place rz00a rz02a
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    nothing                  held; not placed yet: waiting for the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; WaitingForMask: left the placement; the copy is removed when the mask admits the unit
    Propagation is True
    Held is True (Masked): 3 of 3 units are kept as they are by the mask

> place rz00a rz01a
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 2 units are kept as they are by the mask

# But what is held is kept at what it was.
> someone edits rz00a
    rz00a: updated in hz-1 to r1, repaired towards its own revision r1, at which the mask holds it

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 3, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 2 units are kept as they are by the mask

> someone deletes what is in rz01a
    rz01a: created in hz-2 at r1, repaired towards its own revision r1, at which the mask holds it

    Everything stands as before.
