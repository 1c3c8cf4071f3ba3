# A release is taken back where it went, and only there.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given place rz00a rz01a rz02a
> mask nothing
    event UnitsHeld: 3 of 3 units are kept as they are by the mask

    cell   member  holds    status
    rz00a  hz-1    nothing  held; not placed yet: waiting for the mask
    rz01a  hz-2    nothing  held; not placed yet: waiting for the mask
    rz02a  sh-1    nothing  held; not placed yet: waiting for the mask
    Propagation is True
    Held is True (Masked): 3 of 3 units are kept as they are by the mask

> unmask
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    rz02a: created in sh-1 at r1
    event UnitsReleased: no unit is held any more

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

> mask rz00a rz01a
    rz01a: updated in hz-2 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 3 units are kept as they are by the mask

# The old template again, in one of the two cells.
> mask rz00a and template v1
    rz00a: updated in hz-1 to r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 3, r1  r1, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, held; held at revision r2 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> unmask
    rz01a: updated in hz-2 to r1
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 3, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 3, r1  r1, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

# Overrides are part of what a unit is meant to be: they wait for the mask like everything else.
> mask rz01a and override rz00a /spec/replicas 5
    event UnitsHeld: 2 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 3, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x2, generation 3, r1  r1, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> override rz01a /spec/replicas 3
    rz01a: updated in hz-2 to r3

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 3, r1  r1, held; held at revision r1 by the mask
    rz01a  hz-2    v1 x3, generation 4, r3  r3, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 2 of 3 units are kept as they are by the mask

> unmask
    rz00a: updated in hz-1 to r4
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v1 x5, generation 4, r4  r4, as asked
    rz01a  hz-2    v1 x3, generation 4, r3  r3, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> mask nothing and no overrides
    event UnitsHeld: 3 of 3 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v1 x5, generation 4, r4  r4, held; held at revision r4 by the mask
    rz01a  hz-2    v1 x3, generation 4, r3  r3, held; held at revision r3 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 3 of 3 units are kept as they are by the mask
