// Package proto is the wire: ids, limits, error codes and the objects that are signed and sealed, as
// docs/PROTOCOL.md defines them. The server and the peers both use it, so it knows neither: it holds no
// state, does no I/O, and every function checks whatever comes from outside. The generated messages are
// in package parleyv1.
package proto
