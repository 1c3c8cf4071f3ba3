# Something of the name is there already; its owner takes it away, and then back.
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

> someone deletes what is in rz01a
    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    nothing                  may hold a copy; AlreadyExists: member hz-2 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    Propagation is False (CheckClusters): rz01a: AlreadyExists
    Held is False (NothingHeld)

> a minute passes
    rz01a: hz-2 says that nothing is there
    rz01a: created in hz-2 at r1
    event Propagated: every writable unit is as asked

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> someone deletes what is in rz01a and someone makes an object in rz01a
    rz01a: hz-2 has another object than expected
    warning CheckClusters: rz01a: AlreadyExists

    cell   member  holds                                 status
    rz00a  hz-1    v1 x2, generation 1, r1               r1, as asked
    rz01a  hz-2    theirs x7, generation 1, not managed  r1; AlreadyExists: member hz-2 has an object of this name that this federated object did not make; annotate the federated object with cellfed.io/adopt: "true" to take it over
    Propagation is False (CheckClusters): rz01a: AlreadyExists
    Held is False (NothingHeld)

> place rz00a
    rz01a: forgotten, what is in the member is not this object's
    event Propagated: every writable unit is as asked

    cell   member  holds                                 status
    rz00a  hz-1    v1 x2, generation 1, r1               r1, as asked
    rz01a  hz-2    theirs x7, generation 1, not managed  -
    Propagation is True
    Held is False (NothingHeld)

> delete
    rz00a: removed from hz-1
    the federated object is gone

    cell   member  holds                                 status
    rz01a  hz-2    theirs x7, generation 1, not managed  -
