# The article's gray release: four cells on three members, rz00a and rz00b on the same one.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a rz02a rz00b
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1
    rz02a: created in sh-1 at r1
    rz00b: created in hz-1 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, as asked
    rz00b  hz-1    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

# The new version goes to one cell only, although another one lives on the same member.
> mask rz00a and template v2
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 3 of 4 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz00b  hz-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 3 of 4 units are kept as they are by the mask

# It does well. One city next, then all.
> mask where city=hangzhou
    rz01a: updated in hz-2 to r2
    rz00b: updated in hz-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz02a  sh-1    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    rz00b  hz-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is True (Masked): 1 of 4 units are kept as they are by the mask

> unmask
    rz02a: updated in sh-1 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz02a  sh-1    v2 x2, generation 2, r2  r2, as asked
    rz00b  hz-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)
