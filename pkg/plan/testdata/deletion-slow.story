# A member that takes its time: a finalizer of its own stands on one copy, and its cell was renamed away meanwhile.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> place rz00a rz01a
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> someone adds a finalizer in rz01a
    Everything stands as before.

> delete
    rz00a: removed from hz-1
    rz01a: hz-2 is removing it
    event Deleting: rz01a: WaitingForRemoval

    cell   member  holds                           status
    rz01a  hz-2    v1 x2, generation 1, r1, going  r1; WaitingForRemoval: member hz-2 is still deleting the object
    Propagation is False (Deleting): rz01a: WaitingForRemoval
    Held is False (NothingHeld)

> the finalizer in rz01a goes
    rz01a: hz-2 says that nothing is there
    the federated object is gone

    Nothing is left.

> given unit rz00a vanishes
> the plane restarts
    Everything stands as before.
