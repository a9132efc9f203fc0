package image

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// dates remembers when images were built, by digest: what is behind a digest
// never changes. The file, image-dates.json in kubectl's cache directory, holds
// digests and dates, and nothing else: no name, no host, no credential. Losing it
// costs requests.
type dates struct {
	file string

	mu    sync.Mutex
	known map[string]time.Time // zero: the image does not say it
	dirty bool
}

// maxDates is how many are kept, some 100 bytes each.
const maxDates = 50_000

// datesFile is the file's form.
type datesFile struct {
	Version int                  `json:"version"`
	Created map[string]time.Time `json:"created"`
}

// openDates reads the file. One that cannot be read is as good as none.
func openDates(env *cli.Env) *dates {
	d := &dates{known: map[string]time.Time{}}
	if dir := env.Kube.CacheDir; dir != nil && *dir != "" {
		d.file = filepath.Join(*dir, "gitops", "image-dates.json")
	}
	data, err := os.ReadFile(d.file)
	if err != nil {
		return d
	}
	var f datesFile
	if json.Unmarshal(data, &f) == nil && f.Version == 1 && f.Created != nil {
		d.known = f.Created
	}
	return d
}

func (d *dates) get(digest string) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.known[digest]
	return at, ok
}

func (d *dates) put(digest string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.known[digest]; !ok || !old.Equal(at) {
		d.known[digest], d.dirty = at, true
	}
}

// save writes the file, if there is something new in it. It is a cache: what
// fails here is no reason to fail.
func (d *dates) save() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.dirty || d.file == "" {
		return
	}
	keep := slices.Collect(maps.Keys(d.known))
	if len(keep) > maxDates { // the oldest images are the least likely to be asked for again
		slices.SortFunc(keep, func(a, b string) int { return d.known[b].Compare(d.known[a]) })
		for _, digest := range keep[maxDates:] {
			delete(d.known, digest)
		}
	}
	data, err := json.Marshal(datesFile{Version: 1, Created: d.known})
	if err != nil {
		return
	}
	dir := filepath.Dir(d.file)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(dir, "image-dates-*") // 0600
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if closed := tmp.Close(); err != nil || closed != nil || os.Rename(tmp.Name(), d.file) != nil {
		os.Remove(tmp.Name())
		return
	}
	d.dirty = false
}
