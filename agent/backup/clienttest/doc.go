// Package clienttest has only tests: backups as the backup client, vCenter and the VM make them, in all their habits.
package clienttest
