package plugins

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/image"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/secret"
)

// reports are what the commands print for -o json, by kind.
var reports = map[string][]any{
	"SyncReport":  {gitops.SyncReport{}},
	"DiffReport":  {gitops.DiffReport{}},
	"ImageReport": {image.Report{}},
	"SecretReport": {
		secret.Report{}, secret.KeyReport{}, secret.ReadersReport{}, secret.CheckReport{}, secret.InstallReport{}, secret.GitReport{},
	},
}

// reportOf is the kind of report whose fields a block lists, "" if it does none.
func reportOf(b part) string {
	kind, _, _ := strings.Cut(b.text, ":")
	if b.lang != "" || !regexp.MustCompile(`^[A-Z]\w*Report$`).MatchString(kind) {
		return ""
	}
	return kind
}

// A page lists the fields of a report, all of them and no others. What is in
// parentheses explains, and of words with | between them a field has one.
func TestReportsHaveTheFieldsThatAreDocumented(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, file := range files {
		p, err := readPage(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.parts {
			kind := reportOf(b)
			if kind == "" {
				continue
			}
			listed[kind] = true
			want := map[string]bool{}
			for _, report := range reports[kind] {
				jsonFields(reflect.TypeOf(report), want)
			}
			text := regexp.MustCompile(`\([^()]*\)|[\w-]+(?:\|[\w-]+)+`).ReplaceAllString(strings.TrimPrefix(b.text, kind), "")
			have := map[string]bool{}
			for _, word := range regexp.MustCompile(`\w+`).FindAllString(text, -1) {
				have[word] = true
			}
			for _, field := range slices.Sorted(maps.Keys(want)) {
				if !have[field] {
					t.Errorf("%s:%d: a %s has the field %s, too", file, b.line, kind, field)
				}
			}
			for _, word := range slices.Sorted(maps.Keys(have)) {
				if !want[word] {
					t.Errorf("%s:%d: a %s has no field %s", file, b.line, kind, word)
				}
			}
		}
	}
	// docs/sync.md shows one, and explains what does not explain itself.
	page, err := os.ReadFile("../docs/sync.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, listedSync := strings.Cut(string(page), "\n## The report\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed["SyncReport"] = listedSync
	fields := map[string]bool{}
	jsonFields(reflect.TypeOf(gitops.SyncReport{}), fields)
	for field := range fields {
		if !regexp.MustCompile(`\b` + field + `\b`).MatchString(section) {
			t.Errorf("docs/sync.md does not have the field %s of a SyncReport", field)
		}
	}
	for kind := range reports {
		if !listed[kind] {
			t.Errorf("no page lists the fields of a %s", kind)
		}
	}
}

// jsonFields are the names of the fields of t, and of what is in them.
func jsonFields(t reflect.Type, names map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		jsonFields(t.Elem(), names)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || name == "" && !f.Anonymous {
				continue
			}
			if name != "" {
				names[name] = true
			}
			jsonFields(f.Type, names)
		}
	}
}

// heldElsewhere reports whether a block that is no course of commands is held to
// the code all the same: the fields of a report, or how commands are called, which
// docs/reference.md has from the commands.
func heldElsewhere(b part) bool {
	if reportOf(b) != "" {
		return true
	}
	reference, err := os.ReadFile("../docs/reference.md")
	if err != nil || b.lang != "" {
		return false
	}
	lines := strings.Split(string(reference), "\n")
	for line := range strings.Lines(b.text) {
		if !slices.Contains(lines, strings.TrimSuffix(line, "\n")) {
			return false
		}
	}
	return true
}
