package vm

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// A csvColumn sets a value of a VM or of a disk.
type csvColumn struct {
	name string
	ofVM bool // rows of one VM have the same value, or none
	set  func(vm *rpc.VM, d *rpc.Disk, value string) error
}

var csvColumns = []csvColumn{
	{"vm_name", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.VMName, s) }},
	{"inventory_path", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.InventoryPath, s) }},
	{"vcenter", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.VCenter, s) }},
	{"refresh", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.Refresh, s) }},
	{"backup_interval", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.BackupInterval, s) }},
	{"uuid", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.UUID, s) }},
	{"vm_context_id", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return agree(&vm.VMContextID, s) }},
	{"disk_id", false, func(_ *rpc.VM, d *rpc.Disk, s string) error { return number(&d.DiskID, s) }},
	{"unit_number", false, func(_ *rpc.VM, d *rpc.Disk, s string) error { return number(&d.UnitNumber, s) }},
	{"device_key", false, func(_ *rpc.VM, d *rpc.Disk, s string) error { return number(&d.DeviceKey, s) }},
	{"capacity", false, func(_ *rpc.VM, d *rpc.Disk, s string) (err error) {
		d.CapacityBytes, err = human.ParseSize(s)
		return err
	}},
	{"label", false, func(_ *rpc.VM, d *rpc.Disk, s string) error { d.Label = s; return nil }},
}

var csvDiskMust = []string{"disk_id", "unit_number", "capacity"}

func agree(field *string, value string) error {
	if *field != "" && *field != value {
		return fmt.Errorf("%q, but %q in an earlier row", value, *field)
	}
	*field = value
	return nil
}

func number(field *int, value string) (err error) {
	if *field, err = strconv.Atoi(value); err != nil {
		return fmt.Errorf("%q: want a number", value)
	}
	return nil
}

func parseCSVVMs(data []byte) ([]importedVM, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace, r.Comment = true, '#'
	r.FieldsPerRecord = -1 // checked with the VM
	head, err := csvHead(r)
	if err != nil {
		return nil, err
	}
	var list []importedVM
	index := map[string]int{}
	for {
		row, err := r.Read()
		if err == io.EOF {
			return list, nil
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			return nil, fmt.Errorf("%d: %w", bad.Line, bad.Err)
		} else if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		name := cell(head, row, "vm_name")
		i, known := index[name]
		if !known {
			i = len(list)
			index[name] = i
			list = append(list, importedVM{Line: line, VMName: name})
		}
		if err := list[i].addRow(head, row); err != nil && list[i].Error == "" {
			list[i].Line = line
			list[i].refuse(fmt.Errorf("vm %q: %w", name, err))
		}
	}
}

func csvHead(r *csv.Reader) ([]csvColumn, error) {
	titles, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("1: %w", err)
	}
	line, _ := r.FieldPos(0)
	var head []csvColumn
	for _, title := range titles {
		i := slices.IndexFunc(csvColumns, func(c csvColumn) bool { return c.name == strings.TrimSpace(title) })
		if i < 0 || slices.ContainsFunc(head, func(c csvColumn) bool { return c.name == csvColumns[i].name }) {
			return nil, fmt.Errorf("%d: column %q is unknown or repeated: want %s", line, title, strings.Join(csvNames(), ", "))
		}
		head = append(head, csvColumns[i])
	}
	if !slices.ContainsFunc(head, func(c csvColumn) bool { return c.name == "vm_name" }) {
		return nil, fmt.Errorf("%d: no column vm_name: want a heading, see sendensectl vm import --help", line)
	}
	return head, nil
}

func csvNames() (names []string) {
	for _, c := range csvColumns {
		names = append(names, c.name)
	}
	return names
}

// cell is the value of a row in a column.
func cell(head []csvColumn, row []string, name string) string {
	for i, c := range head {
		if c.name == name && i < len(row) {
			return row[i]
		}
	}
	return ""
}

// addRow adds a row to a VM. If all disk columns of a row are empty, it has no disk.
func (v *importedVM) addRow(head []csvColumn, row []string) error {
	if len(row) != len(head) {
		return fmt.Errorf("%d cells, but the heading has %d", len(row), len(head))
	}
	var disk rpc.Disk
	hasDisk := false
	for i, c := range head {
		if row[i] == "" {
			continue
		}
		hasDisk = hasDisk || !c.ofVM
		if err := c.set(&v.vm, &disk, row[i]); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if v.VMName == "" {
		return errors.New("vm_name is missing")
	}
	if !hasDisk {
		return nil
	}
	for _, name := range csvDiskMust {
		if cell(head, row, name) == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	v.vm.Disks = append(v.vm.Disks, disk)
	return nil
}
