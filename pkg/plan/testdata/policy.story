# The type's policy changes while a cell is held. Only cells that the mask admits are written.
> given unit rz00a appears on hz-1
> given unit rz01a appears on hz-2
> place rz00a rz01a and template v1 with lb/port=80
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    warning AnnotationsNotSupported: annotations of the template are not written to members unless the FederatedTypeConfig lists them in spec.propagatingAnnotations: lb/port

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask rz00a and template v2 with lb/port=80
    rz00a: updated in hz-1 to r2
    warning AnnotationsNotSupported: annotations of the template are not written to members unless the FederatedTypeConfig lists them in spec.propagatingAnnotations: lb/port
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> annotations propagate: lb/*
    rz00a: updated in hz-1 to r2

    cell   member  holds                                status
    rz00a  hz-1    v2 x2, generation 2, r2, lb/port=80  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1              r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

# A held cell is repaired towards its own revision all the same, from how it was found then.
> someone edits rz01a
    rz01a: updated in hz-2 to r1, repaired towards its own revision r1, at which the mask holds it

    cell   member  holds                                status
    rz00a  hz-1    v2 x2, generation 2, r2, lb/port=80  r2, as asked
    rz01a  hz-2    v1 x2, generation 3, r1, lb/port=80  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> no annotation propagates
    rz00a: updated in hz-1 to r2

    Everything stands as before.

# What was edited meanwhile under another policy nobody can tell: it is kept until the mask admits the cell.
> annotations propagate: lb/* and someone annotates rz01a: lb/port=9
    rz00a: updated in hz-1 to r2

    cell   member  holds                                status
    rz00a  hz-1    v2 x2, generation 2, r2, lb/port=80  r2, as asked
    rz01a  hz-2    v1 x2, generation 3, r1, lb/port=9   r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> unmask
    rz01a: updated in hz-2 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                                status
    rz00a  hz-1    v2 x2, generation 2, r2, lb/port=80  r2, as asked
    rz01a  hz-2    v2 x2, generation 4, r2, lb/port=80  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

# Replicas are left to the members from now on.
> retain replicas
    rz00a: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2

    Everything stands as before.

> someone scales rz00a to 7
    cell   member  holds                                status
    rz00a  hz-1    v2 x7, generation 3, r2, lb/port=80  r2, as asked
    rz01a  hz-2    v2 x2, generation 4, r2, lb/port=80  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> template v3 with lb/port=80
    rz00a: updated in hz-1 to r3
    rz01a: updated in hz-2 to r3

    cell   member  holds                                status
    rz00a  hz-1    v3 x7, generation 4, r3, lb/port=80  r3, as asked
    rz01a  hz-2    v3 x2, generation 5, r3, lb/port=80  r3, as asked
    Propagation is True
    Held is False (NothingHeld)
