// Package rpc is the API of sendense-agent for Go programs: the client, the values that go over the wire, and the
// reasons of errors.
//
// The agent speaks JSON-RPC 2.0 on a Unix socket, [DefaultSocket]. A [Client] calls it; other programs may use the
// socket as it is, and ask rpc.discover for a description of every method (OpenRPC).
//
// What becomes of backups is pushed to who asks for it: [Client.Watch], or backup.watch and the notifications that follow
// its answer.
//
// Sizes are in bytes, times are UTC in RFC 3339. Results may grow fields with new versions of the agent; parameters
// that the agent does not know are refused, never ignored.
package rpc
