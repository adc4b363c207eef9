// Package rpc is the API of sendense-agent for Go programs: the client, the values on the wire, and the reasons of
// errors. It is not the server, which is rpc/server, and it imports nothing of the agent.
//
// The agent speaks JSON-RPC 2.0 on a Unix socket, [DefaultSocket]. A [Client] calls it. Other programs can use the socket
// directly; rpc.discover describes every method as an OpenRPC document.
//
// Events of backups and restores are pushed to clients that ask for them: [Client.Watch] and [Client.WatchRestores], or
// backup.watch and restore.watch and the notifications that follow their answers.
//
// Sizes are in bytes, times are UTC in RFC 3339. Results may get more fields in later versions of the agent. Parameters
// that the agent does not know are refused, never ignored.
//
// Where things are: the names of the methods in methods.go, the reasons of errors and their codes in errors.go, and the
// values in a file for each noun: backup.go, vm.go, restore.go, verify.go, prune.go, status.go, and so on. The client is
// client.go, with its methods in client_methods.go and its watches in client_watch.go. What is said on the socket of a
// restore's files is no JSON-RPC: package guestfiles.
package rpc
