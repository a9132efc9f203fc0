package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// Diff writes the answer of a diff to stdout: text, name, markdown, json or yaml.
func (u *UI) Diff(r gitops.DiffReport) error {
	switch u.o.Output {
	case "json", "yaml":
		for i := range r.Kustomizations {
			if r.Kustomizations[i].Changes == nil {
				r.Kustomizations[i].Changes = []gitops.DiffChange{}
			}
		}
		if r.Warnings == nil {
			r.Warnings = []gitops.Warning{}
		}
		return u.Object(r)
	}
	return u.answer(func(l layout) []string {
		switch u.o.Output {
		case "name":
			return diffNames(r)
		case "markdown":
			return diffMarkdown(r, u.name)
		}
		return l.diff(r, u.name, true)
	}, u.annotations(r)...)
}

// DiffProblems writes what could not be planned, and the last line, where
// another program has shown the differences.
func (u *UI) DiffProblems(r gitops.DiffReport) error {
	return u.answer(func(l layout) []string { return l.diff(r, u.name, false) }, u.annotations(r)...)
}

// answer ends what is live and writes lines to stdout.
func (u *UI) answer(lines func(layout) []string, commands ...string) error {
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	u.releaseWarnings()
	u.run = newRun()
	u.put(&u.out, lines(u.layout(&u.out)), commands...)
	return u.out.err()
}

// annotations mark on a forge what could not be planned, where it stands.
func (u *UI) annotations(r gitops.DiffReport) []string {
	var out []string
	for _, k := range r.Kustomizations {
		for _, p := range k.Problems {
			out = append(out, u.annotate("error", p))
		}
	}
	return out
}

// diff is the report for people, and for tools that read unified diffs: what
// stands before a hunk is no part of it. hunks false leaves them to another program.
func (l layout) diff(r gitops.DiffReport, name func(flux.Ref) string, hunks bool) []string {
	var lines []string
	failed, untouched := 0, 0
	total := map[string]int{}
	for _, k := range r.Kustomizations {
		if k.Status == gitops.StatusUntouched {
			untouched++
			continue
		}
		n := map[string]int{}
		for _, c := range k.Changes {
			n[c.Action]++
			total[c.Action]++
		}
		text := diffCounts(n)
		switch {
		case k.Status == gitops.StatusFailed:
			failed++
			lines = append(lines, l.paint.boldRed(name(flux.Ref{Namespace: k.Namespace, Name: k.Name})+": failed"))
			lines = append(lines, l.problems(k.Problems)...)
			continue
		case k.Status == gitops.StatusSuspended:
			text = "suspended"
		case text == "":
			text = "no objects"
		}
		if k.Status == gitops.StatusReady && k.Message != "" {
			text += " (" + clean(k.Message) + ")"
		}
		lines = append(lines, l.paint.bold(name(flux.Ref{Namespace: k.Namespace, Name: k.Name}))+": "+text)
		for _, c := range k.Changes {
			lines = append(lines, l.diffChange(c, r.Cluster.Server == "", hunks)...)
		}
	}
	if untouched > 0 {
		lines = append(lines, plural(untouched, "Kustomization")+" not touched")
	}
	summary := diffCounts(map[string]int{"create": total["create"], "configure": total["configure"], "recreate": total["recreate"], "delete": total["delete"]})
	switch {
	case failed > 0:
		return append(lines, l.paint.boldRed("failed")+fmt.Sprintf(": %d of %d could not be planned", failed, len(r.Kustomizations)))
	case summary == "":
		return append(lines, l.paint.green("no difference"))
	}
	return append(lines, l.paint.bold(summary))
}

// diffCounts is "1 to create, 2 to delete, 38 unchanged".
func diffCounts(n map[string]int) string {
	var parts []string
	for _, a := range []struct{ action, word string }{
		{"create", "to create"}, {"configure", "to configure"}, {"recreate", "to recreate"}, {"delete", "to delete"},
		{"skip", "skipped"}, {"unchanged", "unchanged"},
	} {
		if n[a.action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[a.action], a.word))
		}
	}
	return strings.Join(parts, ", ")
}

// offline says that no cluster was asked.
func (l layout) diffChange(c gitops.DiffChange, offline, hunks bool) []string {
	if !plan.Action(c.Action).Writes() {
		return nil
	}
	color := map[string]func(string) string{"create": l.paint.green, "configure": l.paint.cyan, "recreate": l.paint.magenta, "delete": l.paint.red}[c.Action]
	head := "  " + cleanLine(c.ID().Short()) + " " + color(c.Action)
	if c.Namespace != "" {
		head += " (" + cleanLine(c.Namespace) + ")"
	}
	lines := fold("", head+": "+clean(diffReason(c, offline)), 4, l.width)
	if !hunks {
		return lines
	}
	for _, line := range strings.Split(strings.TrimSuffix(c.Diff, "\n"), "\n") {
		line = cleanLine(line)
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			line = l.paint.bold(line)
		case strings.HasPrefix(line, "@@"):
			line = l.paint.cyan(line)
		case strings.HasPrefix(line, "+"):
			line = l.paint.green(line)
		case strings.HasPrefix(line, "-"):
			line = l.paint.red(line)
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// diffReason is why, and for what drifted who did it.
func diffReason(c gitops.DiffChange, offline bool) string {
	why := c.Reason
	if c.LastManager != "" {
		why += "; last set by " + c.LastManager
		if at, err := time.Parse(time.RFC3339, c.LastTime); err == nil {
			why += ", " + ago(time.Since(at))
		}
	}
	if c.Verified == "local" && c.Action == "create" && !offline {
		why += " (the server cannot be asked yet)"
	}
	return why
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// diffNames lists what differs, as kubectl's -o name does.
func diffNames(r gitops.DiffReport) []string {
	var lines []string
	for _, k := range r.Kustomizations {
		for _, c := range k.Changes {
			if plan.Action(c.Action).Writes() {
				lines = append(lines, cleanLine(c.ID().Short()))
			}
		}
	}
	return lines
}

// commentLimit is how much a forge takes in one comment: GitHub's 65,536
// characters, less some for what is put around it.
const commentLimit = 60_000

// diffMarkdown is for a pull request: a section to unfold for each
// Kustomization, cut to what a comment may hold, and what was cut is said.
func diffMarkdown(r gitops.DiffReport, name func(flux.Ref) string) []string {
	var b strings.Builder
	cut, unsaid, untouched := 0, 0, 0
	put := func(format string, args ...any) bool {
		section := fmt.Sprintf(format, args...)
		if b.Len()+len(section) > commentLimit {
			return false
		}
		b.WriteString(section)
		return true
	}
	offline := r.Cluster.Server == ""
	onto := r.Cluster.Context
	if offline {
		onto = gitops.ShortRevision(r.Base)
	}
	fmt.Fprintf(&b, "### kubectl gitops diff\n\n`%s` onto `%s`\n", cleanLine(gitops.ShortRevision(r.Revision)), cleanLine(onto))
	for _, k := range r.Kustomizations {
		if k.Status == gitops.StatusUntouched {
			untouched++
			continue
		}
		n := map[string]int{}
		for _, c := range k.Changes {
			n[c.Action]++
		}
		title := name(flux.Ref{Namespace: k.Namespace, Name: k.Name})
		switch {
		case k.Status == gitops.StatusFailed:
			put("\n**%s: failed**\n\n", title)
			for _, p := range k.Problems {
				where := cleanLine(p.Object)
				if p.File != "" {
					where = cleanLine(fmt.Sprintf("%s:%d", p.File, p.Line))
				}
				if !put("- `%s` %s\n", where, cleanLine(p.Message)) {
					unsaid++
				}
			}
			continue
		case n["create"]+n["configure"]+n["recreate"]+n["delete"] == 0:
			put("\n**%s**: no difference\n", title)
			continue
		}
		open := put("\n<details><summary><b>%s</b>: %s</summary>\n", title, diffCounts(n))
		for _, c := range k.Changes {
			if !plan.Action(c.Action).Writes() {
				continue
			}
			fence := "```"
			for strings.Contains(c.Diff, fence) {
				fence += "`"
			}
			if !open || !put("\n`%s` %s: %s\n\n%sdiff\n%s%s\n", cleanLine(c.ID().String()), c.Action, cleanLine(diffReason(c, offline)), fence, clean(c.Diff), fence) {
				cut++
			}
		}
		if open {
			b.WriteString("\n</details>\n")
		}
	}
	if untouched > 0 {
		fmt.Fprintf(&b, "\n%s not touched\n", plural(untouched, "Kustomization"))
	}
	if unsaid > 0 {
		fmt.Fprintf(&b, "\n%d more problems than fit into a comment: kubectl gitops diff shows all.\n", unsaid)
	}
	if cut > 0 {
		fmt.Fprintf(&b, "\n%d more objects differ than fit into a comment: kubectl gitops diff shows all.\n", cut)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}
