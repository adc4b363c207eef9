package rebuild

// A Report is what was done. Its lists are never nil, so that JSON shows an empty list as one.
type Report struct {
	Repositories []string  `json:"repositories"` // ids, in the order of the configuration
	Imported     []Point   `json:"imported"`
	AlreadyThere []Point   `json:"already_there"`
	Corrected    []Point   `json:"corrected"` // had records from before a merge
	VMs          []string  `json:"vms_registered"`
	Problems     []Problem `json:"problems"`

	Waiting int `json:"-"` // restore points that stay out until they are usable; each is a problem
}

// A Point is a restore point that was found complete.
type Point struct {
	BackupID   string `json:"backup_id"`
	VMName     string `json:"vm_name"`
	Repository string `json:"repository_id"`
	Directory  string `json:"directory"` // absolute
}

// A Problem is something wrong in a repository.
type Problem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func newReport() *Report {
	return &Report{
		Repositories: []string{}, Imported: []Point{}, AlreadyThere: []Point{}, Corrected: []Point{}, VMs: []string{}, Problems: []Problem{},
	}
}

func (r *Report) problem(path string, err error) {
	r.Problems = append(r.Problems, Problem{Path: path, Reason: err.Error()})
}
