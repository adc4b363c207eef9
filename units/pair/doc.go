// Package pair says what a pair of transient systemd units is: what it runs and where it listens ([Spec]), the properties of both
// halves, and the sandbox of an exporter and of a [Guest]. It only computes: it speaks to no service manager, and package units
// starts, watches and stops what is described here.
package pair
