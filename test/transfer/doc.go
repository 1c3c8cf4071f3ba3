// Package transfer tests that a plane survives the move of its data: real planes are backed up while they are written,
// restored elsewhere, and started there. That each object travels to the byte between any two backends, and what happens
// to damaged files, is tested in pkg/storage/transfer.
package transfer
