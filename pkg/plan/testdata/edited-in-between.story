# Somebody edits a copy between the write and the look that would have recorded it, and the mask is narrowed meanwhile.
> given unit rz00a appears on hz-1
> given unit rz01a appears on hz-2
> place rz00a rz01a
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> member hz-2 hangs
    Everything stands as before.

> template v2
    rz00a: updated in hz-1 to r2
    rz01a: hz-2 does not answer the update

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1; Pending: member hz-2 has not answered a write that is under way
    Propagation is False (Propagating): rz01a: Pending
    Held is False (NothingHeld)

> mask rz00a
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; Pending: member hz-2 has not answered a write that is under way
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> member hz-2 answers and someone edits rz01a
    rz01a: updated in hz-2 to r2

    cell   member  holds                        status
    rz00a  hz-1    v2 x2, generation 2, r2      r2, as asked
    rz01a  hz-2    broken x2, generation 3, r2  r2, held; held at revision r2 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

# Nobody can tell who wrote what is there: held, it is kept as it was found; what is edited later is put back; admitted, it is written again.
> unmask
    rz01a: updated in hz-2 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 4, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)
