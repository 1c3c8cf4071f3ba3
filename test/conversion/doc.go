// Package conversion sends objects of both forms through a real plane: what its API server decodes, prunes, stores
// and converts must come back in either form as it was said.
//
// It uses a definition of its own, in a group that nobody propagates: here only the API server and conversion meet.
package conversion
