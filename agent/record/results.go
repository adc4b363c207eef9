package record

// ResultClean is the result of an exporter that ended of its own accord with exit status 0: all it was given is written.
const ResultClean = "success"

// ResultUnknown is the result of an exporter whose end systemd did not see: it did not know the main process.
const ResultUnknown = "unknown"

// What stands in the metrics where systemd's result says too little.
const (
	ResultGone    = "gone"    // the unit is gone, and its result with it
	ResultStopped = "stopped" // it ended cleanly, during a backup
)
