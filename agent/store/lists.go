package store

import (
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// The keys of the lists. See the schema.
const (
	listAll     = "all"
	listDamaged = "damaged"
	listMerging = "rewriting"
	orderPrefix = "order/"
)

func listVM(vm string) string             { return "vm/" + vm }
func listState(state record.State) string { return "state/" + string(state) }

func listVMState(vm string, state record.State) string {
	return listState(state) + "/" + listVM(vm)
}

func listPoints(repository, vm string) string {
	return "point/" + strconv.Quote(repository) + "/" + vm
}

func listOrder(repository, vm string) string {
	return orderPrefix + strconv.Quote(repository) + "/" + vm
}

func listChildren(parent string) string { return "child/" + parent }

// lists names the lists that a record belongs in.
func lists(b record.Backup) []string {
	names := []string{listAll, listVM(b.VM.Name), listState(b.State), listVMState(b.VM.Name, b.State)}
	if b.State == record.Completed {
		names = append(names, listPoints(b.Repository, b.VM.Name), listOrder(b.Repository, b.VM.Name))
		if len(b.Damage()) > 0 {
			names = append(names, listDamaged)
		}
	}
	if b.Merge != nil {
		names = append(names, listMerging)
	}
	if b.Parent != "" && (b.State.Active() || b.State == record.Completed || b.State == record.Deleting) {
		names = append(names, listChildren(b.Parent))
	}
	return names
}

// listKey orders the records of a list by their creation times, or as they were made.
func listKey(list string, b record.Backup) []byte {
	if strings.HasPrefix(list, orderPrefix) {
		return append(encodeSequence(b.Sequence), b.ID...)
	}
	return append(encodeTime(b.CreatedAt), b.ID...)
}

// listID is the backup id of a list's key.
func listID(key []byte) []byte { return key[timeBytes:] }

// index moves a record from the lists and orders it was in to those it belongs in; before or after is nil where there is no
// record.
func (t *tx) index(before, after *record.Backup) error {
	var from, to []string
	b := before
	if before != nil {
		from = lists(*before)
	}
	if after != nil {
		to, b = lists(*after), after
	}
	if err := t.list(from, to, *b); err != nil {
		return err
	}
	return t.orderVerified(before, after)
}

// list moves a record from the lists it was in to those it belongs in.
func (t *tx) list(from, to []string, b record.Backup) error {
	root := t.Bucket(bucketLists)
	for _, name := range from {
		if slices.Contains(to, name) {
			continue
		}
		if err := unlist(root, name, listKey(name, b)); err != nil {
			return err
		}
	}
	for _, name := range to {
		if slices.Contains(from, name) {
			continue
		}
		list, err := root.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		if err := list.Put(listKey(name, b), []byte{}); err != nil {
			return err
		}
	}
	return nil
}

func unlist(root *bolt.Bucket, name string, key []byte) error {
	list := root.Bucket([]byte(name))
	if list == nil {
		return nil
	}
	if err := list.Delete(key); err != nil {
		return err
	}
	if first, _ := list.Cursor().First(); first != nil {
		return nil
	}
	return root.DeleteBucket([]byte(name))
}
