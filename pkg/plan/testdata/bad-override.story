# An override that does not apply stops its own unit and nobody else.
> given unit rz00a appears on hz-1 city=hangzhou
> given unit rz00b appears on hz-1 city=hangzhou
> given unit rz01a appears on hz-2 city=hangzhou
> given unit rz02a appears on sh-1 city=shanghai
> given override rz01a /spec/strategy/type Recreate
> place rz00a rz01a
    rz00a: created in hz-1 at r1
    warning CheckClusters: rz01a: ApplyOverridesFailed

    cell   member  holds                    status
    rz00a  hz-1    v1 x2, generation 1, r1  r1, as asked
    rz01a  hz-2    nothing                  ApplyOverridesFailed: overrides: override 0 (replace "/spec/strategy/type"): there is no "/spec/strategy": add it first
    Propagation is False (CheckClusters): rz01a: ApplyOverridesFailed
    Held is False (NothingHeld)

> template v2
    rz00a: updated in hz-1 to r2

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    nothing                  ApplyOverridesFailed: overrides: override 0 (replace "/spec/strategy/type"): there is no "/spec/strategy": add it first
    Propagation is False (CheckClusters): rz01a: ApplyOverridesFailed
    Held is False (NothingHeld)

> override rz01a /spec/replicas 5
    rz01a: created in hz-2 at r3

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x5, generation 1, r3  r3, as asked
    Propagation is True
    Held is False (NothingHeld)

> override rz01a /metadata/name other
    warning CheckClusters: rz01a: ApplyOverridesFailed

    cell   member  holds                    status
    rz00a  hz-1    v2 x2, generation 2, r2  r2, as asked
    rz01a  hz-2    v2 x5, generation 1, r3  r3; ApplyOverridesFailed: overrides: they change /metadata/name, which only the plane may
    Propagation is False (CheckClusters): rz01a: ApplyOverridesFailed
    Held is False (NothingHeld)

> template v3
    rz00a: updated in hz-1 to r4

    cell   member  holds                    status
    rz00a  hz-1    v3 x2, generation 3, r4  r4, as asked
    rz01a  hz-2    v2 x5, generation 1, r3  r3; ApplyOverridesFailed: overrides: they change /metadata/name, which only the plane may
    Propagation is False (CheckClusters): rz01a: ApplyOverridesFailed
    Held is False (NothingHeld)
