package plugins

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A page is a Markdown document whose fenced blocks are held by a test, in the
// order in which somebody reads it:
//
//	sh    is typed into one shell; a command that fails, fails the page.
//	      exit=N behind it: the one command of the block ends with N.
//	text  after sh is what the shell showed.
//	diff  is an edit of a file, by the name after +++.
//	any   whose first line is a comment with nothing but a path is that file.
//
// What lists the fields of a report, or how commands are called, is held to them
// (see heldElsewhere). All else is there to be read only, which the page says
// before it, and the test counts. <!-- test: NAME ARG… --> sets up what a reader has already.
type page struct {
	file  string
	lines []string
	parts []part
}

// A part is a block, or a directive (lang is then directive).
type part struct {
	line       int // of its first line of text, from 1
	lang, info string
	text       string
}

const directive = "<!-- test:"

var (
	fence  = regexp.MustCompile("^```+")
	titled = regexp.MustCompile(`^(?:#|//) ([\w.@-]*(?:/[\w.@-]+)*)$`)
)

func readPage(file string) (*page, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parsePage(file, string(data))
}

func parsePage(file, text string) (*page, error) {
	p := &page{file: file, lines: strings.Split(text, "\n")}
	for i := 0; i < len(p.lines); i++ {
		line := strings.TrimLeft(p.lines[i], " ") // a block may stand in a list
		if rest, ok := strings.CutPrefix(line, directive); ok {
			rest, ok = strings.CutSuffix(rest, "-->")
			if !ok {
				return nil, fmt.Errorf("%s:%d: the comment does not end on its line", file, i+1)
			}
			p.parts = append(p.parts, part{line: i + 1, lang: directive, text: strings.TrimSpace(rest)})
			continue
		}
		marks := fence.FindString(line)
		if marks == "" {
			continue
		}
		end := slices.IndexFunc(p.lines[i+1:], func(l string) bool { return strings.TrimLeft(l, " ") == marks })
		if end < 0 {
			return nil, fmt.Errorf("%s:%d: the block does not end", file, i+1)
		}
		lang, info, _ := strings.Cut(strings.TrimPrefix(line, marks), " ")
		block := strings.Join(p.lines[i+1:i+1+end], "\n")
		if end > 0 {
			block += "\n"
		}
		p.parts = append(p.parts, part{line: i + 2, lang: lang, info: info, text: block})
		i += end + 1
	}
	return p, nil
}

// fileName is the path that the block's first line names, or "".
func (b part) fileName() string {
	first, _, _ := strings.Cut(b.text, "\n")
	if m := titled.FindStringSubmatch(first); m != nil && strings.ContainsAny(m[1], "./") {
		return m[1]
	}
	return ""
}

// exit is what the block's command ends with.
func (b part) exit() (string, error) {
	if b.info == "" {
		return "0", nil
	}
	code, ok := strings.CutPrefix(b.info, "exit=")
	if !ok {
		return "", fmt.Errorf("want exit=N, not %q", b.info)
	}
	if strings.Contains(strings.TrimSpace(strings.ReplaceAll(b.text, "\\\n", "")), "\n") {
		return "", errors.New("a block with exit=N has one command")
	}
	return code, nil
}

// replaced puts a block's new text into the page; line numbers stay those of
// the page as it was read, so that it is done from the last to the first.
func (p *page) replaced(b part, text string) {
	n := strings.Count(b.text, "\n")
	p.lines = slices.Concat(p.lines[:b.line-1], strings.Split(strings.TrimSuffix(text, "\n"), "\n"), p.lines[b.line-1+n:])
}

// checkYAML wants documents whose keys are there once.
func checkYAML(text string) error {
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document any
		if err := d.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// edit applies a diff of one file below dir. A hunk is where its old lines are,
// which must be one place, whatever its @@ line says.
func edit(dir, diff string) error {
	var name string
	var before, after []string
	var hunks [][2]string
	flush := func() {
		if len(before)+len(after) > 0 {
			hunks = append(hunks, [2]string{strings.Join(before, ""), strings.Join(after, "")})
		}
		before, after = nil, nil
	}
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "--- "):
		case strings.HasPrefix(line, "+++ "):
			name = strings.TrimPrefix(strings.TrimSpace(line[4:]), "b/")
		case strings.HasPrefix(line, "@@"):
			flush()
		case strings.HasPrefix(line, "-"):
			before = append(before, line[1:])
		case strings.HasPrefix(line, "+"):
			after = append(after, line[1:])
		default:
			before = append(before, strings.TrimPrefix(line, " "))
			after = append(after, strings.TrimPrefix(line, " "))
		}
	}
	flush()
	if name == "" {
		return errors.New("the diff names no file: want a line +++ b/FILE")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	for _, h := range hunks {
		if n := bytes.Count(data, []byte(h[0])); n != 1 {
			return fmt.Errorf("%s has these lines %d times, want once:\n%s", name, n, h[0])
		}
		data = bytes.Replace(data, []byte(h[0]), []byte(h[1]), 1)
	}
	return os.WriteFile(filepath.Join(dir, name), data, 0o644)
}

// gitDate is a date as git says it: Tue Nov 24 15:07:16 2026 +0000.
const gitDate = `[A-Z][a-z]{2} [A-Z][a-z]{2} \d{1,2} \d\d:\d\d:\d\d \d{4} [+-]\d{4}`

// What stands for another of its kind in a block of output: it is never the
// same twice. An image's tag is, and is no such thing.
var kinds = regexp.MustCompile(`(?P<tag>[a-z]+-[0-9a-f]{7}-[0-9]{10}|\bsha-[0-9a-f]{7}\b)|(?P<recipient>age1[0-9a-z]+…?)|(?P<sealed>ENC\[AES256_GCM,data:[^],]*…?)|(?P<any>…)|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)|(?P<date>` + gitDate + `)` +
	`|(?P<duration>\b\d+(?:\.\d+)?(?:ms|s|m|h|d)(?:\d+[sm])?\b)|(?P<hash>\b[0-9a-f]{7,40}\b)|(?P<port>127\.0\.0\.1:\d+)|(?P<blanks> {2,})`)

var stands = map[string]string{
	"recipient": `age1[0-9a-z]+`, "sealed": `ENC\[AES256_GCM,data:[^]]*?`, "any": `.*?`, "time": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "date": gitDate, "duration": `\d+(?:\.\d+)?(?:ms|s|m|h|d)(?:\d+[sm])?`, "hash": `[0-9a-f]{7,40}`, "port": `127\.0\.0\.1:\d+`, "blanks": ` +`,
}

// pattern is the expression that lines like this one match.
func pattern(line string) *regexp.Regexp {
	line = strings.TrimRight(line, " ")
	var b strings.Builder
	b.WriteString("^")
	at := 0
	for _, m := range kinds.FindAllStringSubmatchIndex(line, -1) {
		b.WriteString(regexp.QuoteMeta(line[at:m[0]]))
		at = m[1]
		for i, name := range kinds.SubexpNames() {
			if name == "" || m[2*i] < 0 {
				continue
			}
			if expression, ok := stands[name]; ok {
				b.WriteString(expression)
			} else {
				b.WriteString(regexp.QuoteMeta(line[m[0]:m[1]]))
			}
		}
	}
	b.WriteString(regexp.QuoteMeta(line[at:]) + ` *$`)
	return regexp.MustCompile(b.String())
}

// ended begins the line of a Kustomization that has ended.
var ended = regexp.MustCompile(`^[✔✗] `)

// underway begins a line that is there when a machine is slow, and else is not.
var underway = regexp.MustCompile(`^(?:[a-z0-9.-]+/)?[a-z0-9.-]+: (?:asking|comparing|deleting|fetching|looking at|reading|rendering|storing|waiting for|writing) `)

// settled are the lines without those of progress, and with those of
// Kustomizations, each followed by what it did, from A to Z: siblings end in any
// order.
func settled(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	var lines, run []string
	flush := func() {
		slices.Sort(run)
		for _, group := range run {
			lines = append(lines, strings.Split(group, "\n")...)
		}
		run = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case underway.MatchString(line):
		case ended.MatchString(line):
			run = append(run, line)
		case len(run) > 0 && strings.HasPrefix(line, "    "):
			run[len(run)-1] += "\n" + line
		default:
			flush()
			lines = append(lines, line)
		}
	}
	flush()
	return lines
}

// shows reports whether the output is what the block has. A line of nothing but
// … is any number of lines.
func shows(want, got string) bool {
	var match func(want, got []string) bool
	match = func(want, got []string) bool {
		if len(want) == 0 {
			return len(got) == 0
		}
		if strings.TrimSpace(want[0]) == "…" {
			for i := 0; i <= len(got); i++ {
				if match(want[1:], got[i:]) {
					return true
				}
			}
			return false
		}
		return len(got) > 0 && pattern(want[0]).MatchString(got[0]) && match(want[1:], got[1:])
	}
	return match(settled(want), settled(got))
}
