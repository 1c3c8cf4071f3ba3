# Something of the name is there already, and the plane did not make it.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given someone makes an object in rz01a
> place rz00a rz01a
    rz00a: created in hz-1 at r1
    rz01a: hz-2 has another object than expected
    warning CheckClusters: rz01a: AlreadyExists

    cell   member  holds                                 status
    rz00a  hz-1    v1 x2, generation 1, r1               r1, as asked
    rz01a  hz-2    theirs x7, generation 1, not managed  may hold a copy; AlreadyExists: member hz-2 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    Propagation is False (CheckClusters): rz01a: AlreadyExists
    Held is False (NothingHeld)

> template v2
    rz00a: updated in hz-1 to r2

    cell   member  holds                                 status
    rz00a  hz-1    v2 x2, generation 2, r2               r2, as asked
    rz01a  hz-2    theirs x7, generation 1, not managed  may hold a copy; AlreadyExists: member hz-2 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    Propagation is False (CheckClusters): rz01a: AlreadyExists
    Held is False (NothingHeld)

> a minute passes
    rz01a: hz-2 has another object than expected

    Everything stands as before.

# The user asks to take it over: where the mask allows it.
> mask rz00a and adopt
    event Propagated: every writable unit is as asked
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                                 status
    rz00a  hz-1    v2 x2, generation 2, r2               r2, as asked
    rz01a  hz-2    theirs x7, generation 1, not managed  held, may hold a copy; AlreadyExists: the object in the member is taken over when the mask admits the unit
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> unmask
    rz01a: updated in hz-2 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> given someone makes an object in rz02a
> place rz00a rz01a rz02a
    rz02a: sh-1 has another object than expected
    rz02a: updated in sh-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2  r2, as asked
    rz02a  sh-1    v2 x2, generation 2, r2  r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> delete
    rz00a: removed from hz-1
    rz01a: removed from hz-2
    rz02a: removed from sh-1
    the federated object is gone

    Nothing is left.
