// Package store keeps VMs, backups and port leases in one bbolt file.
//
// Everything that must be unique (the active backup of a VM, the holder of a port, an id, a unit's name) is decided
// inside the transaction that writes it. Transactions are short and do nothing but read and write the file. All
// methods may be called from any goroutine. An error means that nothing was written.
//
// # Schema
//
// Version 1. Times are 8 bytes, big-endian nanoseconds since 1970 UTC; ports are 2 bytes, big-endian; "JSON" is the
// encoding of the type of package backup.
//
//	meta
//	    schema                   -> version of this schema, decimal digits
//	    port_cursor              -> port handed out last; ports rotate, so the search goes on behind it
//	vms
//	    <vm name>                -> JSON VM
//	backups
//	    <backup id>              -> JSON Backup, active and ended ones
//	removed
//	    <backup id>              -> time of removal; the id is never given again
//	requests
//	    <request id>             -> backup id, the first answer to a request that may be repeated
//	active
//	    <vm name>                -> backup id; at most one per VM
//	leases
//	    <port>                   -> JSON Lease; held by active backups only
//	cooling_ports
//	    <port>                   -> time until, then backup id
//	cooling_vms
//	    <vm name>                -> time until, then backup id
//	claims
//	    <kind> : <name>          -> backup id; units, exports, images and directories of active backups
//	lists
//	    <list>                   -> bucket, absent when empty
//	        <created> <id>       -> nothing; created is the record's creation time, so the newest is the last
//
// The lists are indexes of backups; a record is in all of these that apply:
//
//	all                          every record
//	vm/<vm name>                 the VM's
//	state/<state>                those in that state
//	state/<state>/vm/<vm name>   the VM's in that state
//	point/<repository>/<vm name> completed ones, the restore points; <repository> is quoted as in Go
//	child/<backup id>            active and completed ones that stand on that backup, and so pin it
//
// States hold no slash and a quoted repository ends at its quote, so no two lists share a key, whatever a VM is called.
//
// Entries of cooling_ports and cooling_vms count only until their time and are deleted by later writers.
//
// # Migrations
//
// A file of an older schema is brought up step by step in one transaction when it is opened; a file of a newer one is
// refused. A change of anything above is a new version and a new step in migrations.go.
package store

// The top-level buckets.
var (
	bucketMeta         = []byte("meta")
	bucketVMs          = []byte("vms")
	bucketBackups      = []byte("backups")
	bucketRemoved      = []byte("removed")
	bucketRequests     = []byte("requests")
	bucketActive       = []byte("active")
	bucketLeases       = []byte("leases")
	bucketCoolingPorts = []byte("cooling_ports")
	bucketCoolingVMs   = []byte("cooling_vms")
	bucketClaims       = []byte("claims")
	bucketLists        = []byte("lists")
)

// buckets is every top-level bucket.
var buckets = [][]byte{
	bucketMeta, bucketVMs, bucketBackups, bucketRemoved, bucketRequests, bucketActive, bucketLeases,
	bucketCoolingPorts, bucketCoolingVMs, bucketClaims, bucketLists,
}

// The keys of bucketMeta.
var (
	keySchema     = []byte("schema")
	keyPortCursor = []byte("port_cursor")
)
