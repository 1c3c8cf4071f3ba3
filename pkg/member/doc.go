// Package member holds the plane's connections to its members, and what it sees in them.
//
// A Fleet knows every physical member by name. A Member is one connection: it is made when the member becomes
// reachable, and its context ends when the member is lost, reconfigured or forgotten; with it end its watches, its
// TCP connections and every call in flight. Whoever needs a member asks the Fleet for it each time, and gets a Member
// or a reason (*NotConnectedError). A View is what one connection knows of one kind: the objects that carry the
// plane's label, in all namespaces, by one watch that everybody shares, however many units live on that member.
//
// It decides nothing: which members there are and whether they are reachable is told to it (pkg/controllers/membership),
// what to write is decided elsewhere. It never polls a member that is not reachable: the return of a member is an Event.
// It must not write to members.
//
// A view is never carried over from one connection to the next, because nobody knows what happened in between; it
// begins anew, and is synced only after a list that the member itself has confirmed to be current. One kind that a
// member lacks or forbids leaves that member's other kinds, and that kind in other members, alone.
package member
