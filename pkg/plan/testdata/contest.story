# Somebody in a member changes a copy each time it is put back. The plane gives up after a few rounds.
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

> someone keeps changing rz00a
    rz00a: updated in hz-1 to r1
    rz00a: updated in hz-1 to r1
    rz00a: updated in hz-1 to r1
    warning CheckClusters: rz00a: Contested
    warning Contested: rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

    cell   member  holds                          status
    rz00a  hz-1    theirs-4 x2, generation 8, r1  r1; Contested: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member
    rz01a  hz-2    v1 x2, generation 1, r1        r1, as asked
    Propagation is False (CheckClusters): rz00a: Contested
    Held is False (NothingHeld)
    Contested is True (KeepsChanging): rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

# A release gets through, and a few more rounds.
> template v2
    rz00a: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2
    rz00a: updated in hz-1 to r2
    rz00a: updated in hz-1 to r2
    rz00a: updated in hz-1 to r2
    event Propagated: every writable unit is as asked
    event ContestSettled: nobody changes what is asked for any more
    warning CheckClusters: rz00a: Contested
    warning Contested: rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

    cell   member  holds                           status
    rz00a  hz-1    theirs-8 x2, generation 16, r2  r2; Contested: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member
    rz01a  hz-2    v2 x2, generation 2, r2         r2, as asked
    Propagation is False (CheckClusters): rz00a: Contested
    Held is False (NothingHeld)
    Contested is True (KeepsChanging): rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

# After a long pause it is tried again.
> the long pause is over
    rz00a: updated in hz-1 to r2
    rz00a: updated in hz-1 to r2
    rz00a: updated in hz-1 to r2
    event Propagated: every writable unit is as asked
    event ContestSettled: nobody changes what is asked for any more
    warning CheckClusters: rz00a: Contested
    warning Contested: rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

    cell   member  holds                            status
    rz00a  hz-1    theirs-11 x2, generation 22, r2  r2; Contested: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member
    rz01a  hz-2    v2 x2, generation 2, r2          r2, as asked
    Propagation is False (CheckClusters): rz00a: Contested
    Held is False (NothingHeld)
    Contested is True (KeepsChanging): rz00a: somebody in member hz-1 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

# They give in.
> they give rz00a back
    event Propagated: every writable unit is as asked
    event ContestSettled: nobody changes what is asked for any more

    cell   member  holds                     status
    rz00a  hz-1    v2 x2, generation 23, r2  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2   r2, as asked
    Propagation is True
    Held is False (NothingHeld)
    Contested is False (Settled)

# A held cell is not fought over for ever either.
> mask rz00a and template v3
    rz00a: updated in hz-1 to r3
    event UnitsHeld: 1 of 2 units are kept as they are by the mask

    cell   member  holds                     status
    rz00a  hz-1    v3 x2, generation 24, r3  r3, as asked
    rz01a  hz-2    v2 x2, generation 2, r2   r2, held; held at revision r2 by the mask
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask
    Contested is False (Settled)

> someone keeps changing rz01a
    rz01a: updated in hz-2 to r2, repaired towards its own revision r2, at which the mask holds it
    rz01a: updated in hz-2 to r2, repaired towards its own revision r2, at which the mask holds it
    rz01a: updated in hz-2 to r2, repaired towards its own revision r2, at which the mask holds it
    warning Contested: rz01a: somebody in member hz-2 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

    cell   member  holds                           status
    rz00a  hz-1    v3 x2, generation 24, r3        r3, as asked
    rz01a  hz-2    theirs-15 x2, generation 9, r2  r2, held; Contested: somebody in member hz-2 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member
    Propagation is True
    Held is True (Masked): 1 of 2 units are kept as they are by the mask
    Contested is True (KeepsChanging): rz01a: somebody in member hz-2 keeps changing spec.image: written again only after a long pause, or with the next revision; stop them there, or leave the field to the member

> they leave rz01a alone, as it is
    Everything stands as before.

> unmask
    rz01a: updated in hz-2 to r3
    event UnitsReleased: no unit is held any more
    event ContestSettled: nobody changes what is asked for any more

    cell   member  holds                     status
    rz00a  hz-1    v3 x2, generation 24, r3  r3, as asked
    rz01a  hz-2    v3 x2, generation 10, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)
    Contested is False (Settled)
