// Package sna speaks the HTTP API of the SNA, the node appliance beside
// vCenter that starts one SBC (SendenseBackupClient) process per backup job.
//
// The API was read from sna/api/server.go of github.com/DRDAVIDBANNER/sendense.
// These facts shape the client:
//
//   - A start is not idempotent. A second POST with the same job id starts a
//     second SBC, which begins by deleting every snapshot of a backup of that
//     VM: it destroys the first run. Therefore Start writes at most one request
//     to at most one connection, and its errors say whether the request may
//     have arrived.
//
//   - There is no cancel, no stop and no list. Nobody reports a failed
//     SBC, and the status of its job stays "running".
//
//   - Errors are plain text; they are passed on in the SNA's own words, cut to a
//     maximum length and without control characters and passwords.
//
//   - There is no authentication and no TLS: the SNA is reached through an SSH
//     tunnel that ends on the loopback address.
//
//     nothing was sent          *InvalidRequestError, *UnreachableError
//     Start error   answered 4xx or 5xx       *RefusedError
//     anything else             *OutcomeUnknownError
//
// [NotStarted] distinguishes the first two rows, which may be undone, from the
// third, after which an SBC may be running.
package sna
