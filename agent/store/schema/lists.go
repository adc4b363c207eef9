package schema

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// The keys of the lists. See the schema.
const (
	ListAll     = "all"
	ListDamaged = "damaged"
	ListMerging = "rewriting"
	OrderPrefix = "order/"
)

// ListVM is the list of a VM's backups.
func ListVM(vm string) string { return "vm/" + vm }

// ListState is the list of the backups in a state.
func ListState(state record.State) string { return "state/" + string(state) }

// ListVMState is the list of a VM's backups in a state.
func ListVMState(vm string, state record.State) string {
	return ListState(state) + "/" + ListVM(vm)
}

// ListPoints is the list of a VM's restore points in a repository.
func ListPoints(repository, vm string) string {
	return "point/" + strconv.Quote(repository) + "/" + vm
}

// ListOrder is the list of the same restore points in the order in which they were made.
func ListOrder(repository, vm string) string {
	return OrderPrefix + strconv.Quote(repository) + "/" + vm
}

// ListChildren is the list of the backups that are based on a backup.
func ListChildren(parent string) string { return "child/" + parent }

// Lists names the lists that a record belongs in.
func Lists(b record.Backup) []string {
	names := []string{ListAll, ListVM(b.VM.Name), ListState(b.State), ListVMState(b.VM.Name, b.State)}
	if b.State == record.Completed {
		names = append(names, ListPoints(b.Repository, b.VM.Name), ListOrder(b.Repository, b.VM.Name))
		if len(b.Damage()) > 0 {
			names = append(names, ListDamaged)
		}
	}
	if b.Merge != nil {
		names = append(names, ListMerging)
	}
	if b.Parent != "" && (b.State.Active() || b.State == record.Completed || b.State == record.Deleting) {
		names = append(names, ListChildren(b.Parent))
	}
	return names
}

// ListKey orders the records of a list by their creation times; in the lists "order/" by their sequences.
func ListKey(list string, b record.Backup) []byte {
	if strings.HasPrefix(list, OrderPrefix) {
		return append(EncodeSequence(b.Sequence), b.ID...)
	}
	return append(EncodeTime(b.CreatedAt), b.ID...)
}

// ListID is the backup id of a list's key.
func ListID(key []byte) []byte { return key[TimeBytes:] }

// Index moves a record from the lists and orders that it was in to those that it belongs in. before or after is nil where there
// is no record.
func Index(t *dbfile.Tx, before, after *record.Backup) error {
	var from, to []string
	b := before
	if before != nil {
		from = Lists(*before)
	}
	if after != nil {
		to, b = Lists(*after), after
	}
	if err := moveBetweenLists(t, from, to, *b); err != nil {
		return err
	}
	return orderVerified(t, before, after)
}

// moveBetweenLists moves a record from the lists that it was in to those that it belongs in.
func moveBetweenLists(t *dbfile.Tx, from, to []string, b record.Backup) error {
	root := t.Bucket(BucketLists)
	for _, name := range from {
		if slices.Contains(to, name) {
			continue
		}
		if err := unlist(root, name, ListKey(name, b)); err != nil {
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
		if err := list.Put(ListKey(name, b), []byte{}); err != nil {
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

// Listed loads the record of an entry of a list.
func Listed(t *dbfile.Tx, list string, key []byte) (record.Backup, error) {
	if len(key) <= TimeBytes {
		return record.Backup{}, t.Damaged("list %q: entry of %d bytes", list, len(key))
	}
	return Indexed(t, BucketLists, []byte(list), ListID(key))
}

// EachListed walks a list from the newest record to the oldest.
func EachListed(t *dbfile.Tx, name string, f func(record.Backup) error) error {
	list := t.Bucket(BucketLists).Bucket([]byte(name))
	if list == nil {
		return nil
	}
	c := list.Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		b, err := Listed(t, name, k)
		if err == nil {
			err = f(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// VerifiedKeys are the keys of a restore point in the two orders of verification; none for any other record.
func VerifiedKeys(b *record.Backup) (shallow, deep []byte) {
	if b == nil || b.State != record.Completed {
		return nil, nil
	}
	key := func(deep bool) []byte { return append(EncodeTime(b.VerifiedAt(deep)), b.ID...) }
	return key(false), key(true)
}

// orderVerified moves a record to its present keys in the two orders of verification.
func orderVerified(t *dbfile.Tx, before, after *record.Backup) error {
	fromShallow, fromDeep := VerifiedKeys(before)
	toShallow, toDeep := VerifiedKeys(after)
	if err := move(t.Bucket(BucketVerified), fromShallow, toShallow); err != nil {
		return err
	}
	return move(t.Bucket(BucketVerifiedDeep), fromDeep, toDeep)
}

func move(order *bolt.Bucket, from, to []byte) error {
	if bytes.Equal(from, to) {
		return nil
	}
	if from != nil {
		if err := order.Delete(from); err != nil {
			return err
		}
	}
	if to == nil {
		return nil
	}
	return order.Put(to, []byte{})
}
