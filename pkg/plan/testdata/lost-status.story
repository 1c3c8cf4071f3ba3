# The plane dies between a member write and the status write. What it finds afterwards is in the members.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given place rz00a rz01a
> the next status write is lost
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    the plane dies before it writes status, and starts again
    rz00a: updated in hz-1 to r1
    rz01a: updated in hz-2 to r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> template v2 and the next status write is lost
    rz00a: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2
    the plane dies before it writes status, and starts again
    rz00a: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask nothing and template v3
    event UnitsHeld: 2 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, held; held at revision r2 by the mask
    rz01a  hz-2    v2 x2, generation 2, r2  r2, held; held at revision r2 by the mask
    Propagation is True
    Held is True (Masked): 2 of 2 units are kept as they are by the mask

# The same, and the mask is narrowed before anybody looks again: the cells hold v3 already, and keep it.
> unmask
    rz00a: updated in hz-1 to r3
    rz01a: updated in hz-2 to r3
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v3 x2, generation 3, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)

> template v4 and the next status write is lost and member hz-2 hangs
    rz00a: updated in hz-1 to r4
    rz01a: hz-2 does not answer the update
    the plane dies before it writes status, and starts again
    rz01a: updated in hz-2 to r4
    rz00a: updated in hz-1 to r4
    rz01a: hz-2 does not answer the update

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v4 x2, generation 4, r4  r3; Pending: member hz-2 has not answered a write that is under way
    Propagation is False (Propagating): rz01a: Pending
    Held is False (NothingHeld)

> mask rz00a
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v4 x2, generation 4, r4  r3, held; Pending: member hz-2 has not answered a write that is under way
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> member hz-2 answers
    rz01a: updated in hz-2 to r4

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v4 x2, generation 4, r4  r4, held; held at revision r4 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone edits rz01a
    rz01a: updated in hz-2 to r4, repaired towards its own revision r4, at which the mask holds it

    cell   member  holds                    status
    rz00a  hz-1    v4 x2, generation 4, r4  r4, as asked
    rz01a  hz-2    v4 x2, generation 6, r4  r4, held; held at revision r4 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask
