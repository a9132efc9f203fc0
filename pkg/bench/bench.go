// Package bench keeps docs/benchmarks.md: a benchmark that measured something
// worth telling writes its section there, with the machine and the date, so
// that no figure is copied by hand. Tests only; nothing of the product uses it.
package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Recording says whether figures are to be written down: BENCH_RECORD is set,
// as `make bench` does. Without it a benchmark only logs them.
func Recording() bool { return os.Getenv("BENCH_RECORD") != "" }

// Record replaces the section of this name in docs/benchmarks.md of the module
// that tb runs in. The section is title as a heading, a line of the date and
// the machine, and markdown; a new one goes to the end. Names are lower-case
// words with hyphens, one for each writer. It logs the text in any case.
func Record(tb testing.TB, name, title, markdown string) {
	tb.Helper()
	tb.Logf("%s\n%s", title, markdown)
	if !Recording() {
		return
	}
	file, err := document()
	if err != nil {
		tb.Fatal(err)
	}
	unlock, err := lock(file + ".lock")
	if err != nil {
		tb.Fatal(err)
	}
	defer unlock()
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	section := fmt.Sprintf("## %s\n\n%s, %s\n\n%s\n", title, time.Now().UTC().Format(time.DateOnly), machine(), strings.TrimSpace(markdown))
	if err := os.WriteFile(file, []byte(Replace(string(old), name, section)), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Replace gives doc with section between the markers of this name, in the place
// where they stand, or at the end with new ones.
func Replace(doc, name, section string) string {
	begin, end := "<!-- bench "+name+" -->\n", "<!-- /bench "+name+" -->\n"
	section = begin + section + end
	if before, rest, found := strings.Cut(doc, begin); found {
		if _, after, found := strings.Cut(rest, end); found {
			return before + section + after
		}
	}
	if doc != "" {
		doc = strings.TrimRight(doc, "\n") + "\n\n"
	}
	return doc + section
}

// document is docs/benchmarks.md of the module around the working directory.
func document() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "docs", "benchmarks.md"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod around the working directory: cannot tell where docs/benchmarks.md is")
		}
		dir = parent
	}
}

// lock keeps writers apart: go test runs packages at the same time.
func lock(file string) (func(), error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			f.Close()
			return func() { os.Remove(file) }, nil
		}
		if !errors.Is(err, os.ErrExist) || time.Now().After(deadline) {
			return nil, fmt.Errorf("another benchmark holds %s; remove it if none runs: %w", file, err)
		}
	}
}

// machine is what makes figures comparable: cores, processor, memory, Go.
func machine() string {
	s := fmt.Sprintf("%d cores", runtime.NumCPU())
	if model := field("/proc/cpuinfo", "model name"); model != "" {
		s += " of " + model
	}
	if kib := field("/proc/meminfo", "MemTotal"); kib != "" {
		var n int
		if _, err := fmt.Sscanf(kib, "%d kB", &n); err == nil {
			s += fmt.Sprintf(", %d GiB", (n+1<<19)>>20)
		}
	}
	return s + ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// field is the value of the first "key: value" line of a file of Linux's /proc.
func field(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, found := strings.Cut(line, ":"); found && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
