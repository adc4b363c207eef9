// Package hostiletest has only tests: backups in a world that is against them.
package hostiletest
