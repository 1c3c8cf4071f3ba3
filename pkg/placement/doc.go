// Package placement resolves what a placement or a mask selects among the units that there are.
//
// It must not know members or copies: who exists and who is selected is all it says. Names that select nothing stay
// visible (KubeFed drops them without a trace), because "the unit is missing" and "the unit is not wanted" lead to
// opposite deeds.
package placement
