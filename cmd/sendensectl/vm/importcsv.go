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
	"time"
	"unicode"

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
	{"refresh", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return oneOf(&vm.Refresh, s, refreshWords) }},
	{"backup_interval", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return interval(&vm.BackupInterval, s) }},
	{"tags", true, func(vm *rpc.VM, _ *rpc.Disk, s string) error { return words(&vm.Tags, s) }},
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

// refreshWords are the values of the column refresh. An empty cell asks never.
var refreshWords = []string{"prefer", "require"}

var csvDiskMust = []string{"disk_id", "unit_number", "capacity"}

func agree(field *string, value string) error {
	if *field != "" && *field != value {
		return fmt.Errorf("%q, but %q in an earlier row", value, *field)
	}
	*field = value
	return nil
}

func oneOf(field *string, value string, words []string) error {
	if !slices.Contains(words, value) {
		return fmt.Errorf("%q: want %s, or an empty cell", value, strings.Join(words, " or "))
	}
	return agree(field, value)
}

// words reads tags, which spaces or semicolons separate.
func words(field *[]string, value string) error {
	list := strings.FieldsFunc(value, func(r rune) bool { return r == ';' || unicode.IsSpace(r) })
	if *field != nil && !slices.Equal(*field, list) {
		return fmt.Errorf("%q, but %q in an earlier row", value, strings.Join(*field, " "))
	}
	*field = list
	return nil
}

func interval(field *string, value string) error {
	if _, err := time.ParseDuration(value); err != nil {
		return fmt.Errorf("%q: want a time such as 26h, or 0s for never, or an empty cell", value)
	}
	return agree(field, value)
}

func number(field *int, value string) (err error) {
	if *field, err = strconv.Atoi(value); err != nil {
		return fmt.Errorf("%q: want a whole number", value)
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
			return nil, fmt.Errorf("%d: character %d: %w", bad.Line, bad.Column, bad.Err)
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
		if err := list[i].addRow(head, row, line); err != nil && list[i].Error == "" {
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
	for n, title := range titles {
		i := slices.IndexFunc(csvColumns, func(c csvColumn) bool { return c.name == strings.TrimSpace(title) })
		if i < 0 {
			return nil, fmt.Errorf("%d: column %d: the name %q is unknown: want %s", line, n+1, title, strings.Join(csvNames(), ", "))
		}
		if slices.ContainsFunc(head, func(c csvColumn) bool { return c.name == csvColumns[i].name }) {
			return nil, fmt.Errorf("%d: column %d: the name %q is repeated: want each of %s at most once", line, n+1, title, strings.Join(csvNames(), ", "))
		}
		head = append(head, csvColumns[i])
	}
	if !slices.ContainsFunc(head, func(c csvColumn) bool { return c.name == "vm_name" }) {
		return nil, fmt.Errorf("%d: no column vm_name: want a heading with vm_name and some of %s", line, strings.Join(csvNames()[1:], ", "))
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

// cellCount is the error for a row with too few or too many cells. It names the first cell that is missing or too much.
func cellCount(head []csvColumn, row []string) error {
	if len(row) < len(head) {
		return fmt.Errorf("%d cells, but the heading has %d: no cell for column %s", len(row), len(head), head[len(row)].name)
	}
	return fmt.Errorf("%d cells, but the heading has %d: cell %q has no column; put a value with commas in double quotes", len(row), len(head), row[len(head)])
}

// addRow adds a row to a VM. If all disk columns of a row are empty, it has no disk.
func (v *importedVM) addRow(head []csvColumn, row []string, line int) error {
	if len(row) != len(head) {
		return cellCount(head, row)
	}
	var disk rpc.Disk
	hasDisk := false
	for i, c := range head {
		if row[i] == "" {
			continue
		}
		hasDisk = hasDisk || !c.ofVM
		if err := c.set(&v.vm, &disk, row[i]); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	if v.VMName == "" {
		return errors.New("column vm_name: the name is missing")
	}
	if !hasDisk {
		return nil
	}
	for _, name := range csvDiskMust {
		if cell(head, row, name) == "" {
			return fmt.Errorf("column %s: the value is missing: a disk requires %s", name, strings.Join(csvDiskMust, ", "))
		}
	}
	v.vm.Disks = append(v.vm.Disks, disk)
	v.diskLines = append(v.diskLines, line)
	return nil
}
