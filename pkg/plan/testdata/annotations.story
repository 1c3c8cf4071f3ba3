# A type whose annotations are spec in part. What a cloud writes beside them costs nothing and is never lost.
> given unit rz00a appears on hz-1
> given unit rz01a appears on hz-2
> given annotations propagate: lb/* !lb/status-*
> place rz00a rz01a and template v1 with lb/port=80
    rz00a: created in hz-1 at r1
    rz01a: created in hz-2 at r1

    cell   member  holds                                status
    rz00a  hz-1    v1 x2, generation 1, r1, lb/port=80  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1, lb/port=80  r1, as asked
    Propagation is True
    Held is False (NothingHeld)

> someone annotates rz00a: lb/status-ip=1.2.3.4 and someone annotates rz00a: other=x
    cell   member  holds                                                             status
    rz00a  hz-1    v1 x2, generation 1, r1, lb/port=80 lb/status-ip=1.2.3.4 other=x  r1, as asked
    rz01a  hz-2    v1 x2, generation 1, r1, lb/port=80                               r1, as asked
    Propagation is True
    Held is False (NothingHeld)

# An edit of what is ours is drift.
> someone annotates rz00a: lb/port=81
    rz00a: updated in hz-1 to r1

    Everything stands as before.

> someone annotates rz01a: lb/more=x
    rz01a: updated in hz-2 to r1

    Everything stands as before.

# A release keeps what is theirs, and removes what the template has no more.
> template v2 with lb/protocol=tcp
    rz00a: updated in hz-1 to r2
    rz01a: updated in hz-2 to r2

    cell   member  holds                                                                  status
    rz00a  hz-1    v2 x2, generation 2, r2, lb/protocol=tcp lb/status-ip=1.2.3.4 other=x  r2, as asked
    rz01a  hz-2    v2 x2, generation 2, r2, lb/protocol=tcp                               r2, as asked
    Propagation is True
    Held is False (NothingHeld)

> template v3
    rz00a: updated in hz-1 to r3
    rz01a: updated in hz-2 to r3

    cell   member  holds                                                  status
    rz00a  hz-1    v3 x2, generation 3, r3, lb/status-ip=1.2.3.4 other=x  r3, as asked
    rz01a  hz-2    v3 x2, generation 3, r3                                r3, as asked
    Propagation is True
    Held is False (NothingHeld)

# An annotation that does not propagate is said to be in vain, once.
> template v3 with other=ours
    rz00a: updated in hz-1 to r4
    rz01a: updated in hz-2 to r4
    warning AnnotationsNotSupported: annotations of the template are not written to members unless the FederatedTypeConfig lists them in spec.propagatingAnnotations: other

    cell   member  holds                                                  status
    rz00a  hz-1    v3 x2, generation 3, r4, lb/status-ip=1.2.3.4 other=x  r4, as asked
    rz01a  hz-2    v3 x2, generation 3, r4                                r4, as asked
    Propagation is True
    Held is False (NothingHeld)
