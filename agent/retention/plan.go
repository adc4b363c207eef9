package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what happens to a restore point.
type Action string

// The actions.
const (
	Keep   Action = "keep"
	Delete Action = "delete" // no kept point is based on it
	Merge  Action = "merge"  // its content is merged into those based on it, and then it is deleted
	Wait   Action = "wait"   // it is expired, but stays for now
)

// A Decision is what happens to one restore point, and why.
type Decision struct {
	Point   Point
	Action  Action
	Reasons []string
	Into    []string // of Merge: the points that it is merged into

	// Synthetic says that the point becomes a full backup, because its chain is longer than its policy allows.
	Synthetic bool

	// Misdated says why the date of the point cannot be right; "" = it may be right. A misdated point is kept, and counts for no
	// rule.
	Misdated string
}

// A Merging gives a kept point a new parent, so that the points between can be removed.
type Merging struct {
	ID        string
	NewParent string // a point of its chain; "" = none: it becomes a synthetic full
}

// A Set is what is known of the restore points of one VM in one repository.
type Set struct {
	Points   []Point
	Policies map[string]Policy // by id
	Held     map[string]string // by point: what reads it now, such as a restore
	Now      time.Time
	Zone     *time.Location

	// MaxRemoved is the share of the points, from 0 to 1, of which a plan that removes more is held. See Plan.Held.
	MaxRemoved float64
}

// A Plan is what to do, in this order: merges, from the oldest point to the newest; then deletions, children first.
type Plan struct {
	Decisions []Decision // of every point, in the reverse order in which they were made
	Merges    []Merging
	Deletions []string

	// Held says that the plan removes so much at once that a person must decide. It is the last defense against what no rule can
	// find, such as a clock that is wrong now.
	Held bool
}

// FewPoints is how many points there may be for a plan to remove any number of them: a share of so few means nothing.
const FewPoints = 4

// Plan decides. The plan for a VM leaves every kept point with its whole chain, and always keeps the good point that was made
// last.
func (s Set) Plan() Plan {
	p := newPlanner(s)
	order := p.decideAll()
	if p.synthetic = p.tooLong(); p.synthetic != "" {
		order = p.decideAll() // what only that point is based on can go
	}
	return p.plan(order)
}

// decideAll decides about all points, and returns them so that each comes after all that are based on it.
func (p *planner) decideAll() []string {
	for _, x := range p.sorted {
		p.judge(x)
	}
	p.keepOneGood()
	order := p.fromLeaves()
	for _, id := range order {
		p.decide(p.points[id])
	}
	return order
}

type planner struct {
	Set
	sorted    []Point // in the reverse order in which they were made
	points    map[string]Point
	children  map[string][]string
	reasons   map[string]map[string][]string // by policy and point
	decisions map[string]*Decision
	kept      map[string][]string
	misdated  map[string]string // why the date of a point is not believed
	synthetic string            // the point that becomes a full backup; "" = none
}

func newPlanner(s Set) *planner {
	p := &planner{
		Set: s, sorted: slices.Clone(s.Points), points: map[string]Point{}, children: map[string][]string{},
		reasons: map[string]map[string][]string{}, decisions: map[string]*Decision{}, kept: map[string][]string{}, misdated: s.misdated(),
	}
	slices.SortFunc(p.sorted, newestMadeFirst)
	groups := map[string][]Point{}
	for _, x := range p.sorted {
		p.points[x.ID] = x
		p.children[x.Parent] = append(p.children[x.Parent], x.ID)
		if p.misdated[x.ID] == "" {
			groups[x.Policy] = append(groups[x.Policy], x)
		}
	}
	for id, group := range groups {
		if policy, ok := s.Policies[id]; ok {
			p.reasons[id] = policy.keep(group, s.Now, s.Zone)
		}
	}
	return p
}

// judge finds out whether a point is kept for its own sake.
func (p *planner) judge(x Point) {
	d := &Decision{Point: x, Action: Keep, Misdated: p.misdated[x.ID]}
	p.decisions[x.ID] = d
	_, known := p.Policies[x.Policy]
	switch reasons := p.reasons[x.Policy][x.ID]; {
	case x.Policy == "":
		d.Reasons = []string{"no policy"}
	case !known:
		d.Reasons = []string{fmt.Sprintf("policy %s is not configured", x.Policy)}
	case x.Damaged != "":
		d.Reasons = []string{"damaged, not removed automatically: " + x.Damaged}
	case d.Misdated != "":
		d.Reasons = []string{"dated by a wrong clock, not removed automatically: " + d.Misdated}
	case len(reasons) > 0:
		d.Reasons = reasons
	default:
		d.Action, d.Reasons = Delete, []string{"expired"}
	}
	if d.Misdated != "" && (x.Damaged != "" || !known) {
		d.Reasons = append(d.Reasons, d.Misdated)
	}
}

// keepOneGood keeps the good point that was made last, if the rules would remove it.
func (p *planner) keepOneGood() {
	for _, x := range p.sorted {
		if x.Damaged != "" {
			continue
		}
		if d := p.decisions[x.ID]; d.Action != Keep {
			d.Action, d.Reasons = Keep, []string{"newest good one"}
		}
		return
	}
}

// decide decides about an expired point, after all that are based on it.
func (p *planner) decide(x Point) {
	d := p.decisions[x.ID]
	kept := p.keptOn(x.ID)
	p.kept[x.ID] = kept
	if d.Synthetic = x.ID == p.synthetic; d.Synthetic {
		d.Reasons = append(slices.Clone(d.Reasons), fmt.Sprintf("becomes a full backup, because its chain is longer than max_chain, %d", p.Policies[x.Policy].MaxChain))
	}
	if d.Action == Keep {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(kept), func(id string) bool { return id == p.synthetic }) // based on it whatever the policy says
	damaged := slices.IndexFunc(kept, func(id string) bool { return p.points[id].Damaged != "" })
	switch held := p.Held[x.ID]; {
	case held != "":
		d.Action, d.Reasons = Wait, append(d.Reasons, held)
	case len(kept) == 0:
	case !p.Policies[x.Policy].Merge && len(stay) > 0:
		d.Action, d.Reasons = Wait, append(d.Reasons, "stays until those based on it are removed: "+some(stay))
	case damaged >= 0:
		d.Action, d.Reasons = Wait, append(d.Reasons, "a damaged one is based on it: "+kept[damaged])
	default:
		d.Action, d.Into = Merge, kept
	}
}

// keptOn lists the nearest points that stay and are based on a point: all between them are removed.
func (p *planner) keptOn(id string) (kept []string) {
	for _, child := range p.children[id] {
		if d := p.decisions[child]; d.Action == Keep || d.Action == Wait {
			kept = append(kept, child)
			continue
		}
		kept = append(kept, p.kept[child]...)
	}
	return kept
}

// tooLong returns the newest good point, which the next backup is based on, if its chain is longer than its policy allows after all that is
// decided; else "". A point in use is left for the next time.
func (p *planner) tooLong() string {
	at := slices.IndexFunc(p.sorted, func(x Point) bool { return x.Damaged == "" })
	if at < 0 {
		return ""
	}
	x, length := p.sorted[at], 0
	for id := x.ID; p.decisions[id] != nil && length <= len(p.sorted); id = p.newParent(id) {
		length++
	}
	if most := p.Policies[x.Policy].MaxChain; most == 0 || length <= most || p.Held[x.ID] != "" {
		return ""
	}
	return x.ID
}

func some(ids []string) string {
	if len(ids) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:3], ", "), len(ids)-3)
	}
	return strings.Join(ids, ", ")
}

// plan puts the steps in order.
func (p *planner) plan(order []string) (plan Plan) {
	for _, x := range p.sorted {
		plan.Decisions = append(plan.Decisions, *p.decisions[x.ID])
	}
	for _, x := range order {
		if d := p.decisions[x]; d.Action == Delete || d.Action == Merge {
			plan.Deletions = append(plan.Deletions, x)
			continue
		}
		if onto := p.newParent(x); onto != p.points[x].Parent {
			plan.Merges = append(plan.Merges, Merging{ID: x, NewParent: onto})
		}
	}
	slices.Reverse(plan.Merges)
	total, removed := float64(len(p.Points)), float64(len(plan.Deletions))
	plan.Held = len(p.Points) > FewPoints && removed > total*p.MaxRemoved
	return plan
}

// newParent is the parent that a point gets: the nearest point of its chain that stays.
func (p *planner) newParent(id string) string {
	if id == p.synthetic {
		return ""
	}
	parent := p.points[id].Parent
	for d := p.decisions[parent]; d != nil && (d.Action == Delete || d.Action == Merge); d = p.decisions[parent] {
		parent = d.Point.Parent
	}
	return parent
}

// fromLeaves lists the points so that each comes after all that are based on it.
func (p *planner) fromLeaves() (order []string) {
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, child := range p.children[id] {
			visit(child)
		}
		order = append(order, id)
	}
	for _, x := range p.sorted {
		visit(x.ID)
	}
	return order
}
