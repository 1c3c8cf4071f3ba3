// Package election lets one of several servers lead: the controllers run there and nowhere else. Who leads holds a Lease
// of the plane, by client-go's rules, and holds a Fence for as long as it does.
//
// It knows nothing of what is led. It must not let anything be written in the name of a lease that may have passed to
// somebody else: a process that is frozen (a virtual machine that is moved, a disk that hangs, SIGSTOP) does not notice,
// and goes on in the middle of whatever it was doing. So everything that leaves the process for a member or for the plane
// asks the fence at the last moment, and the fence answers by the clock alone.
//
// Why client-go's elector is not enough by itself. It gives the lease back before what it led has ended; here it is
// given back afterwards. It keeps leading for seconds although it has read another's name in the lease. And when it gives
// up, it blanks whatever the lease says by then, also if that is the name of a successor, who would lead beside a third
// one until it noticed. The lock in lock.go stands between the two and refuses that.
//
// Time is measured from before a renewal is sent, and a rival counts from after it has arrived, so that the fence closes
// before any rival may begin: RenewDeadline here, LeaseDuration there. Both clocks are asked, because the monotonic one
// stands still while a machine is suspended and the other may be set.
package election
