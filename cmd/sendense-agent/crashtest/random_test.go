package crashtest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of TestRandom; 0 for a new one")
	kills = flag.Int("kills", 40, "how often TestRandom kills the daemon")
)

// clients is how many ask at the same time.
const clients = 2

// TestRandom kills the daemon at random points and random moments, its start included, while clients ask it for random
// things. What they were answered is compared with a model in the end. The same seed gives the same requests, points and
// pauses; when exactly they happen is up to the machine.
func TestRandom(t *testing.T) {
	t.Parallel()
	seed := *seed // which other tests read at the same time
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	fmt.Printf("random kills: repeat with -seed %d -kills %d\n", seed, *kills) // also when all is well
	h := newHub(t, "")
	must(t, os.Remove(h.program()))
	must(t, os.Symlink(racedDaemon(), h.program()))
	history := newHistory(t)
	var list []*vm
	for i := range 3 {
		list = append(list, h.addVM(i+1))
		h.lookAlike(list[i])
	}
	h.policy(randomPolicy)
	h.limitBackups(2)
	h.environment()
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for i := range clients {
		c := &client{hub: h, history: history, number: i, random: rand.New(rand.NewPCG(seed, uint64(i))), list: list}
		working.Go(func() { c.work(ctx) })
	}
	k := &killer{hub: h, random: rand.New(rand.NewPCG(seed, clients)), points: pointNames(t), reached: map[string]int{}}
	for i := 0; i < *kills && !t.Failed(); i++ {
		k.kill()
		h.postedOnce()
		if (i+1)%100 == 0 {
			fmt.Printf("%d random kills, %d at points\n", i+1, k.atPoints)
		}
	}
	cancel()
	working.Wait()
	t.Logf("%d kills: %d at points, %d different ones of the %d that were passed, the others at random moments; %d operations",
		*kills, k.atPoints, len(k.reached), len(k.seen), history.size())
	h.settle(list)
	history.check(t)
}

// A killer ends one daemon after the other.
type killer struct {
	*hub
	random   *rand.Rand
	points   []string // all there are
	seen     []string // those that were passed by an earlier daemon
	reached  map[string]int
	atPoints int
}

// kill starts the daemon and kills it, at a point if it comes to that one in time, or at a random moment.
func (k *killer) kill() {
	k.Helper()
	log := k.run + "/points"
	// Mostly short, so that the taking up of what the last one left is cut short too; now and then a backup completes.
	life := k.random.Float64()
	end := time.Duration(life * life * float64(1500*time.Millisecond))
	point := k.choose()
	if point != "" {
		end = 2 * time.Second
		k.stopAt(point + ":1")
	} else {
		k.environment("SENDENSE_FAILPOINT_LOG=" + log)
	}
	_, err := systemctl("start", "--no-block", serviceOf(k.slot))
	must(k.T, err)
	for began := time.Now(); time.Since(began) < end && (point == "" || !k.hub.reached()); {
		time.Sleep(min(5*time.Millisecond, end))
	}
	if point != "" && k.hub.reached() {
		k.atPoints++
		k.reached[point]++
	}
	k.hub.kill()
	k.learn(log)
}

// choose says at which point the next daemon is killed, "" for none. Most are taken from those that are known to come.
func (k *killer) choose() string {
	switch n := k.random.IntN(8); {
	case n < 4 && len(k.seen) > 0:
		return k.seen[k.random.IntN(len(k.seen))]
	case n == 4:
		return k.points[k.random.IntN(len(k.points))]
	}
	return ""
}

// learn notes the points that the last daemon has passed.
func (k *killer) learn(log string) {
	k.Helper()
	text, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.Fatal(err)
	}
	_ = os.Remove(log)
	for name := range strings.Lines(string(text)) {
		name, whole := strings.CutSuffix(name, "\n")
		if i, known := slices.BinarySearch(k.seen, name); whole && !known {
			k.seen = slices.Insert(k.seen, i, name)
		}
	}
}

// pointNames are the names of the points at which the daemon may be killed.
func pointNames(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{}
	for _, p := range sourcePoints(t) {
		if !p.prefix {
			names[p.name] = true
		}
	}
	for _, s := range record.States {
		names["committing "+string(s)], names["committed "+string(s)] = true, true
	}
	return slices.Sorted(maps.Keys(names))
}

// settle lets everything come to its end, and checks all that must hold.
func (h *hub) settle(list []*vm) {
	h.Helper()
	must(h.T, h.sna.SetFaults(snatest.Faults{}))
	h.sna.Release("copy/0")
	_ = os.Remove(h.sign()) // of a daemon that was killed at a point: the next one is waited for until it answers
	h.environment()
	h.boot()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	must(h.T, h.ended(ctx))
	for _, v := range list {
		must(h.T, h.put(ctx, v))
		h.another(ctx, v)
	}
	h.halt()
	outcomes := map[string]int{}
	records := h.check()
	for _, b := range records {
		outcomes[string(b.State)]++
	}
	h.Logf("%d backups: %v", len(records), outcomes)
}
