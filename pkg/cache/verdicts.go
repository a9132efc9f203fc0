package cache

import (
	"slices"
	"sync"
)

// Verdicts are what earlier runs found to be true of one cluster, as sums: a sum
// that is among them was true of the very parts that it was made of. Safe for
// concurrent use; nil has none.
type Verdicts struct {
	dir  *Dir
	name string

	mu    sync.Mutex
	known map[Sum]bool // true: asked for or added in this run
	order []Sum        // of the file: those used last come first
	added bool
}

// mostVerdicts bounds a file to 1 MiB.
const mostVerdicts = 1 << 16

// Verdicts are those of a cluster.
func (d *Dir) Verdicts(cluster string) *Verdicts {
	if d == nil {
		return nil
	}
	v := &Verdicts{dir: d, name: "verdicts-" + d.Sum("verdicts", cluster).String()}
	v.order = v.load()
	v.known = make(map[Sum]bool, len(v.order))
	for _, s := range v.order {
		v.known[s] = false
	}
	return v
}

func (v *Verdicts) load() []Sum {
	data := v.dir.read(v.name)
	out := make([]Sum, 0, len(data)/len(Sum{}))
	for chunk := range slices.Chunk(data, len(Sum{})) {
		if len(chunk) == len(Sum{}) && len(out) < mostVerdicts {
			out = append(out, Sum(chunk))
		}
	}
	return out
}

// Empty reports whether there is none.
func (v *Verdicts) Empty() bool { return v == nil || len(v.known) == 0 }

// Has reports whether s is among them.
func (v *Verdicts) Has(s Sum) bool {
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.known[s]
	if ok {
		v.known[s] = true
	}
	return ok
}

// Add adds s.
func (v *Verdicts) Add(s Sum) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.known[s]; !ok {
		v.added = true
		v.order = append(v.order, s)
	}
	v.known[s] = true
}

// Save writes them down, with what other runs have added since, if this one has
// added any.
func (v *Verdicts) Save() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.added {
		return
	}
	var body []byte
	put := func(s Sum) {
		if len(body) < mostVerdicts*len(s) {
			body = append(body, s[:]...)
		}
	}
	for _, s := range v.order {
		if v.known[s] {
			put(s)
		}
	}
	for _, s := range v.load() {
		if !v.known[s] {
			put(s)
		}
	}
	v.dir.write(v.name, body)
	v.added = false
}
