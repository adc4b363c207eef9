package setup

import (
	"fmt"
	"io"
)

const maxNamed = 10 // VMs

func count(vms int) string {
	if vms == 1 {
		return "1 VM"
	}
	return fmt.Sprintf("%d VMs", vms)
}

// ready says what works now, and what to do next.
func (p *plan) ready(out io.Writer, d Discovery) {
	fmt.Fprintf(out, "\nReady:\n  repository %s: %s\n  vCenter %s: %s, %s on record\n  SNA: %s\n",
		p.answers.RepositoryID, p.place.path, p.answers.VCenter, p.answers.Host, count(len(d.Names)), p.answers.SNA)
	if len(d.NotStored) > 0 {
		fmt.Fprintf(out, "\nNot on record: %s. Add by hand (sendensectl vm add --help):\n", count(len(d.NotStored)))
		for i, vm := range d.NotStored {
			if i == maxNamed {
				fmt.Fprintf(out, "  and %d more: run sendensectl vm discover %s\n", len(d.NotStored)-i, p.answers.VCenter)
				break
			}
			fmt.Fprintf(out, "  %s\n", vm)
		}
	}
	fmt.Fprint(out, "\nNext:\n")
	first := "VM"
	if len(d.Names) > 0 {
		first = d.Names[0]
	} else {
		fmt.Fprintf(out, "  check datacenter %q in %s: it has no VM\n", p.answers.Datacenter, p.now.path)
	}
	fmt.Fprintf(out, `  sendensectl vm list
  sendensectl backup start %s --type full --wait
  usermod -aG sendense USER    # USER may run sendensectl after the next login
Then schedule the backups: see "Schedule backups" in docs/operations.md.
`, first)
}
