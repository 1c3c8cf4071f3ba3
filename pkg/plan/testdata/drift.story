# Somebody changes copies by hand. Each is brought back to what its cell should run: held cells to their own revision.
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

> mask rz00a and template v2
    rz00a: updated in hz-1 to r2
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone edits rz00a
    rz00a: updated in hz-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 4, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone edits rz01a
    rz01a: updated in hz-2 to r1, repaired towards its own revision r1, at which the mask holds it

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 4, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 3, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone deletes what is in rz01a
    rz01a: created in hz-2 at r1, repaired towards its own revision r1, at which the mask holds it

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 4, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone deletes what is in rz00a
    rz00a: created in hz-1 at r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 1, r2  r2, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, held; held at revision r1 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> someone cuts the owner mark off in rz01a
    rz01a: updated in hz-2 to r1, repaired towards its own revision r1, at which the mask holds it

    Everything stands as before.

> someone cuts the marks off in rz00a
    rz00a: hz-1 has another object than expected
    warning CheckClusters: rz00a: AlreadyExists

    cell   member  holds                             status
    rz00a  hz-1    v2 x2, generation 1, not managed  r2; AlreadyExists: member hz-1 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    rz01a  hz-2    v1 x2, generation 1, r1           r1, held; held at revision r1 by the mask
    Propagation is False (CheckClusters): rz00a: AlreadyExists
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

# Where nobody knows any more what a held cell ran, it is left alone.
> revisions are lost and someone edits rz01a
    cell   member  holds                             status
    rz00a  hz-1    v2 x2, generation 1, not managed  r2; AlreadyExists: member hz-1 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    rz01a  hz-2    broken x2, generation 2, r1       r1, held; RevisionMissing: the copy is not as it was at revision r1, whose content is not kept any more
    Propagation is False (CheckClusters): rz00a: AlreadyExists
    Held is True (Masked): 1 of 2 units are kept as they are by the mask

> unmask
    rz01a: updated in hz-2 to r2
    event UnitsReleased: no unit is held any more

    cell   member  holds                             status
    rz00a  hz-1    v2 x2, generation 1, not managed  r2; AlreadyExists: member hz-1 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    rz01a  hz-2    v2 x2, generation 3, r2           r2, as asked
    Propagation is False (CheckClusters): rz00a: AlreadyExists
    Held is False (NothingHeld)

# The member's people have the last word about an object that they take out of the plane's hands.
> someone says hands off in rz01a
    rz01a: hz-2 has another object than expected

    cell   member  holds                                 status
    rz00a  hz-1    v2 x2, generation 1, not managed      r2; AlreadyExists: member hz-1 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    rz01a  hz-2    v2 x2, generation 3, r2, not managed  r2; ManagedLabelFalse: the member's object says that it is not to be managed (label kubefed.io/managed: "false")
    Propagation is False (CheckClusters): rz00a: AlreadyExists; rz01a: ManagedLabelFalse
    Held is False (NothingHeld)

> template v3
    Everything stands as before.

> place rz00a
    rz01a: forgotten, what is in the member is not this object's

    cell   member  holds                                 status
    rz00a  hz-1    v2 x2, generation 1, not managed      r2; AlreadyExists: member hz-1 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    rz01a  hz-2    v2 x2, generation 3, r2, not managed  -
    Propagation is False (CheckClusters): rz00a: AlreadyExists
    Held is False (NothingHeld)

# A label alone is put back; and a copy without it is found before it would be forgotten.
> place rz02a
    rz02a: created in sh-1 at r3
    rz00a: forgotten, what is in the member is not this object's

    cell   member  holds                                 status
    rz02a  sh-1    v3 x2, generation 1, r3               r3, as asked
    rz00a  hz-1    v2 x2, generation 1, not managed      -
    rz01a  hz-2    v2 x2, generation 3, r2, not managed  -
    Propagation is True
    Held is False (NothingHeld)

> someone cuts the managed label off in rz02a
    rz02a: sh-1 has another object than expected
    rz02a: updated in sh-1 to r3

    Everything stands as before.

> someone cuts the managed label off in rz02a and delete
    rz02a: sh-1 has another object than expected
    rz02a: removed from sh-1
    the federated object is gone
    event Deleting: rz02a: WaitingForRemoval

    cell   member  holds                                 status
    rz00a  hz-1    v2 x2, generation 1, not managed      -
    rz01a  hz-2    v2 x2, generation 3, r2, not managed  -
