// Package schema says what is where in the file of the database: its buckets, how records and keys are encoded, which lists a record
// belongs in, and the migrations from older versions. It reads and writes single entries in the transaction of a caller. Which changes
// are allowed is not its matter: see package rules.
//
// # Schema
//
// Version 8 (3 was never used). Times are 8 bytes, big-endian nanoseconds since 1970 UTC; ports are 2 bytes, big-endian; "JSON" is the
// encoding of the type in package record.
//
//	meta
//	    schema                   -> version of this schema, decimal digits
//	    port_cursor              -> the last port that was leased; ports rotate, so the search begins after it
//	    rebuilt                  -> nothing; present while exporters of a lost database may run
//	    pruned                   -> time when the policies were last applied to everything; absent before that
//	vms
//	    <vm name>                -> JSON VM
//	backups
//	    <backup id>              -> JSON Backup, active and ended ones; the bucket's own sequence is the last one given to a record
//	removed
//	    <backup id>              -> time of removal, then the directory it had, if any; the id is never given again
//	requests
//	    <request id>             -> backup id, the first answer to a request that may be repeated
//	active
//	    <vm name>                -> backup id; at most one per VM
//	leases
//	    <port>                   -> JSON Lease; held by active backups and active restores only
//	cooling_ports
//	    <port>                   -> time until, then backup id
//	cooling_vms
//	    <vm name>                -> time until, then backup id
//	claims
//	    <kind> : <name>          -> backup id; units, exports, images and directories of active backups
//	restores
//	    <restore id>             -> JSON Restore, active ones and the last ended ones
//	active_restores
//	    <restore id>             -> nothing; their restore points are pinned
//	prune_held
//	    <repository>/<vm name>   -> JSON Hold: a held prune; <repository> is quoted as in Go
//	paused
//	    <repository id>          -> JSON Pause: nothing new starts in that repository
//	importing
//	    <repository id>          -> nothing; its restore points are being imported, or some wait for a key
//	schedules
//	    <schedule id>            -> JSON ScheduleState: up to which due time it was handled, and whether it is paused
//	runs
//	    <run id>                 -> JSON Run
//	run_vms
//	    <run id>/<vm name>       -> JSON RunVM; run ids have no slash
//	verified
//	    <verified> <id>          -> nothing; every restore point by the time when its files were last checked, or by its end
//	verified_deep
//	    <verified> <id>          -> nothing; the same for when they were last read whole
//	lists
//	    <list>                   -> bucket, absent when empty
//	        <created> <id>       -> nothing; created is the record's creation time, so the newest is the last
//	        <sequence> <id>      -> nothing; only in the lists "order/": 8 bytes, big-endian
//
// The lists are indexes of backups; a record is in all of these that apply:
//
//	all                          every record
//	vm/<vm name>                 the VM's
//	state/<state>                those in that state
//	state/<state>/vm/<vm name>   the VM's in that state
//	point/<repository>/<vm name> completed ones, the restore points; <repository> is quoted as in Go
//	order/<repository>/<vm name> the same ones in the order in which they were made, whatever their dates
//	damaged                      restore points of which a file is known to be damaged
//	rewriting                    restore points with a merge in progress; absent in files of agents without policies
//	child/<backup id>            those that are based on that backup and pin it: active, completed, and not yet deleted
//
// States have no slash and a quoted repository ends at its quote, so no two lists share a key, whatever the name of a VM.
//
// # Order
//
// A clock may be wrong, so nothing that cannot be undone is decided by creation times alone. A new record gets the next number of
// the bucket backups (record.FirstSequence is the first). A VM has one active backup, so the order of the sequences of its restore
// points in a repository is also the order in which they were completed. The restore points of files before version 5 have the
// sequences that record.Sequences computes from their parents and dates, which are below all others. An imported record keeps the
// sequence of its manifest, and later records get higher ones. Two sequences may be equal when two databases gave them: then the
// ids decide.
//
// Entries of cooling_ports and cooling_vms count until their time. Later writers delete them.
//
// # Migrations
//
// A file of an older schema is migrated step by step in one transaction when it is opened; a file of a newer one is
// refused. A change of anything above is a new version and a new step in migrations.go.
package schema

// The top-level buckets.
var (
	BucketMeta         = []byte("meta")
	BucketVMs          = []byte("vms")
	BucketBackups      = []byte("backups")
	BucketRemoved      = []byte("removed")
	BucketRequests     = []byte("requests")
	BucketActive       = []byte("active")
	BucketLeases       = []byte("leases")
	BucketCoolingPorts = []byte("cooling_ports")
	BucketCoolingVMs   = []byte("cooling_vms")
	BucketClaims       = []byte("claims")
	BucketLists        = []byte("lists")

	BucketPruneHeld = []byte("prune_held")
	BucketPaused    = []byte("paused")
	BucketImporting = []byte("importing")

	BucketSchedules = []byte("schedules")
	BucketRuns      = []byte("runs")
	BucketRunVMs    = []byte("run_vms")

	BucketVerified     = []byte("verified")
	BucketVerifiedDeep = []byte("verified_deep")

	BucketRestores       = []byte("restores")
	BucketActiveRestores = []byte("active_restores")
)

// Buckets is every top-level bucket.
var Buckets = [][]byte{
	BucketMeta, BucketVMs, BucketBackups, BucketRemoved, BucketRequests, BucketActive, BucketLeases,
	BucketCoolingPorts, BucketCoolingVMs, BucketClaims, BucketLists, BucketRestores, BucketActiveRestores,
	BucketVerified, BucketVerifiedDeep, BucketPruneHeld, BucketPaused, BucketImporting,
	BucketSchedules, BucketRuns, BucketRunVMs,
}

// The keys of bucketMeta.
var (
	KeySchema     = []byte("schema")
	KeyPortCursor = []byte("port_cursor")
	KeyRebuilt    = []byte("rebuilt")
	KeyPruned     = []byte("pruned")
)
