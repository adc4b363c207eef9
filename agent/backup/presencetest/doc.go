// Package presencetest has only tests: clients that die, leave, are slow or report nothing. They wait for deadlines more than they compute.
package presencetest
