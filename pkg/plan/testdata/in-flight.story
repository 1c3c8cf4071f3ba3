# A write that is under way when the mask is narrowed may finish; nothing more is written.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given place rz00a rz01a
> unmask
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

> mask rz00a and template v3
    rz00a: updated in hz-1 to r3
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; Pending: member hz-2 has not answered a write that is under way
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> member hz-2 answers
    rz01a: updated in hz-2 to r2

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, held; held at revision r2 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone edits rz01a
    rz01a: updated in hz-2 to r2, repaired towards its own revision r2, at which the mask holds it

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v2 x2, generation 4, r2  r2, held; held at revision r2 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

# Deleted while a write is under way: the deletion waits for its end.
> member hz-2 hangs
    Everything stands as before.

> unmask
    rz01a: hz-2 does not answer the update
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r3  r3, as asked
    rz01a  hz-2    v2 x2, generation 4, r2  r2; Pending: member hz-2 has not answered a write that is under way
    Propagation is False (Propagating): rz01a: Pending
    Held is False (NothingHeld)

> delete
    rz00a: removed from hz-1
    event Deleting: rz01a: Pending

    cell   member  holds                    status
    rz01a  hz-2    v2 x2, generation 4, r2  r2; Pending: member hz-2 has not answered a write that is under way
    Propagation is False (Deleting): rz01a: Pending
    Held is False (NothingHeld)

> member hz-2 answers
    rz01a: updated in hz-2 to r3
    rz01a: removed from hz-2
    the federated object is gone

    Nothing is left.
