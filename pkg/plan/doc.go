// Package plan decides what is to be done, in which unit, and why: the laws of masks, inventory and doubt as one chain
// of questions per unit.
//
// It must not read or write anything but its input, must not know the time, and must not be told reasons: it makes
// them. Everything that was seen comes in one Input, everything that is to be done leaves in one Plan, and the same
// input always gives the same plan, whatever the order of the units. Deletion is the same road with nothing placed.
//
// A unit is asked, in this order: is there such a unit; is a write to it still under way; can its member be reached
// and read; is what is there ours; and only then what it should hold. The first answer that settles it wins, so a
// doubt always comes before a deed.
package plan
