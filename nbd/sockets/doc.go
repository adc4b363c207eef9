// Package sockets asks the kernel about the TCP sockets of this network namespace: who listens on a port, which ports are taken,
// and how many clients are connected. It opens no connection. It asks over netlink, and reads /proc/net where a sandbox forbids
// that.
package sockets
