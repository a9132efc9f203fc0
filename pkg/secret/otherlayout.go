package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
)

// relaid is what SOPS writes, in the layout of src: of JSON blanks, line breaks and the
// spelling of what did not change, of dotenv and ini files lines and blanks. branches are the
// documents that emitted was made of, without metadata. It is nil where that cannot be
// done, and of other formats; whoever uses it opens it again.
func relaid(store sops.Store, src, emitted []byte, branches sops.TreeBranches) []byte {
	switch store.Name() {
	case "dotenv":
		return relaidDotenv(src, emitted)
	case "ini":
		return relaidINI(src, emitted)
	case "json":
		return relaidJSON(src, emitted, branches)
	}
	return nil
}

// relaidINI puts the sections, comments and values that SOPS writes where those of src
// stand. A value that is written in several lines is left to SOPS.
func relaidINI(src, emitted []byte) []byte {
	body, meta := cutINI(emitted)
	rest := nonBlank(body)
	own, _ := cutINI(src)
	var out bytes.Buffer
	for line := range bytes.Lines(own) {
		was := bytes.TrimSpace(line)
		if len(was) == 0 {
			out.Write(line)
			continue
		}
		if len(rest) == 0 {
			return nil
		}
		now := rest[0]
		rest = rest[1:]
		key, value, isKey := bytes.Cut(was, []byte("="))
		newKey, newValue, newIsKey := bytes.Cut(now, []byte("="))
		value, newValue = bytes.TrimSpace(value), bytes.TrimSpace(newValue)
		comment := bytes.ContainsAny(was[:1], "#;")
		switch {
		case comment && bytes.ContainsAny(now[:1], "#;"):
			newValue, value = bytes.TrimSpace(now[1:]), bytes.TrimSpace(was[1:])
		case comment, was[0] == '[' && !bytes.Equal(was, now), was[0] != '[' && (!isKey || !newIsKey || !bytes.Equal(bytes.TrimSpace(key), bytes.TrimSpace(newKey))):
			return nil
		case was[0] == '[':
			value, newValue = nil, nil
		}
		if at := bytes.LastIndex(line, value); !bytes.Equal(value, newValue) && at >= 0 && len(value) > 0 {
			line = slices.Concat(line[:at], newValue, line[at+len(value):])
		} else if !bytes.Equal(value, newValue) {
			return nil
		}
		out.Write(line)
	}
	if len(rest) > 0 {
		return nil
	}
	if text := out.Bytes(); len(meta) > 0 && len(text) > 0 && text[len(text)-1] != '\n' {
		out.WriteByte('\n')
	}
	out.Write(meta)
	return out.Bytes()
}

// cutINI parts a file at the section of SOPS, which is its last.
func cutINI(text []byte) (body, meta []byte) {
	if at := bytes.Index(text, []byte("[sops]\n")); at == 0 || at > 0 && text[at-1] == '\n' {
		return text[:at], text[at:]
	}
	return text, nil
}

func nonBlank(text []byte) (out [][]byte) {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			out = append(out, line)
		}
	}
	return out
}

// relaidDotenv puts the lines that SOPS writes where those of src stand, which are as
// many: only blank ones are lost.
func relaidDotenv(src, emitted []byte) []byte {
	var out bytes.Buffer
	rest := bytes.SplitAfter(emitted, []byte("\n"))
	for line := range bytes.Lines(src) {
		switch {
		case len(bytes.TrimRight(line, "\n")) == 0:
			out.WriteByte('\n')
		case bytes.HasPrefix(line, []byte("sops_")):
		case len(rest) == 0:
			return nil
		default:
			out.Write(rest[0])
			rest = rest[1:]
		}
	}
	out.Write(bytes.Join(rest, nil))
	return out.Bytes()
}

// jsonLayout is where things stand in a JSON object.
type jsonLayout struct {
	src   []byte
	leafs []jsonSpan // scalars that are values, in their order, those of the sops member left out
	// members are those of the root, from their key to the end of their value.
	members []jsonSpan
	sops    int // which of them is the metadata, -1 for none
}

type jsonSpan struct {
	start, end int
	value      any
}

// newJSONLayout reads a JSON object.
func newJSONLayout(src []byte) (*jsonLayout, error) {
	l := &jsonLayout{src: src, sops: -1}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	first, err := d.Token()
	if err != nil || first != json.Delim('{') {
		return nil, fmt.Errorf("no JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		end := int(d.InputOffset())
		start := l.textStart(end)
		isSops := key == "sops"
		before := len(l.leafs)
		if err := l.value(d); err != nil {
			return nil, err
		}
		if isSops {
			l.sops, l.leafs = len(l.members), l.leafs[:before]
		}
		l.members = append(l.members, jsonSpan{start: start, end: int(d.InputOffset())})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *jsonLayout) value(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		end := int(d.InputOffset())
		start := end
		switch v := t.(type) {
		case string:
			start = l.textStart(end)
		case json.Number:
			start = end - len(v)
		case bool:
			start = end - len(fmt.Sprint(v))
		case nil:
			start = end - len("null")
		}
		l.leafs = append(l.leafs, jsonSpan{start, end, t})
		return nil
	}
	for d.More() {
		if open == '{' {
			if _, err := d.Token(); err != nil {
				return err
			}
		}
		if err := l.value(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// textStart is where the text begins that ends before end: a quote within it has an
// odd number of backslashes before.
func (l *jsonLayout) textStart(end int) int {
	for i := end - 2; i >= 0; i-- {
		if l.src[i] != '"' {
			continue
		}
		slashes := 0
		for i-slashes > 0 && l.src[i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
	return end
}

// scalars are the leaves of a tree, in their order.
func scalars(v any, out []any) []any {
	switch v := v.(type) {
	case sops.TreeBranch:
		for _, item := range v {
			out = scalars(item.Value, out)
		}
		return out
	case []any:
		for _, e := range v {
			out = scalars(e, out)
		}
		return out
	}
	return append(out, v)
}

// relaidJSON puts the values that SOPS sealed or opened where they stand in src, and its
// metadata at the end, or where it is.
func relaidJSON(src, emitted []byte, branches sops.TreeBranches) []byte {
	l, err := newJSONLayout(src)
	if err != nil || len(branches) != 1 || len(l.members) == 0 {
		return nil
	}
	leafs := scalars(branches[0], nil)
	if len(leafs) != len(l.leafs) {
		return nil
	}
	var edits []edit
	for i, span := range l.leafs {
		old, wasText := span.value.(string)
		now, isText := leafs[i].(string)
		if wasText && isText && old == now || !(wasText && sealedValue.MatchString(old)) && !(isText && sealedValue.MatchString(now)) {
			continue
		}
		text, ok := jsonScalar(leafs[i])
		if !ok {
			return nil
		}
		edits = append(edits, edit{span.start, span.end, text})
	}
	meta, err := newJSONLayout(emitted)
	if err != nil {
		return nil
	}
	switch {
	case meta.sops >= 0:
		edits = append(edits, l.withSops(meta))
	case l.sops >= 0:
		edits = append(edits, l.withoutSops())
	}
	sortEdits(edits)
	out, err := (&layout{src: src}).spliced(edits)
	if err != nil {
		return nil
	}
	return out
}

// jsonScalar writes a value so that it is read as the same.
func jsonScalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return doubleQuoted(v), true
	case float64:
		text := fmt.Sprint(v)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return text, !strings.ContainsAny(text, "IN") // JSON has no infinity
	case int, bool:
		return fmt.Sprint(v), true
	case nil:
		return "null", true
	}
	return "", false
}

// withSops puts the metadata in its place, indented as the file is.
func (l *jsonLayout) withSops(from *jsonLayout) edit {
	m := from.members[from.sops]
	block := from.src[m.start:m.end]
	last := l.members[len(l.members)-1]
	lineStart := bytes.LastIndexByte(l.src[:l.members[0].start], '\n') + 1
	indent := string(l.src[lineStart:l.members[0].start])
	if lineStart == 0 || strings.TrimLeft(indent, " \t") != "" { // on the line of the brace
		var compact bytes.Buffer
		if json.Compact(&compact, bytes.TrimPrefix(block, []byte(`"sops":`))) == nil {
			block = append([]byte(`"sops": `), compact.Bytes()...)
		}
		if l.sops >= 0 {
			s := l.members[l.sops]
			return edit{s.start, s.end, string(block)}
		}
		return edit{last.end, last.end, ", " + string(block)}
	}
	newline := "\n"
	if lineStart >= 2 && l.src[lineStart-2] == '\r' {
		newline = "\r\n"
	}
	var text strings.Builder
	for i, line := range strings.Split(string(block), "\n") {
		tabs := len(line) - len(strings.TrimLeft(line, "\t"))
		if i > 0 {
			text.WriteString(newline)
		}
		text.WriteString(strings.Repeat(indent, tabs) + line[tabs:])
	}
	if l.sops >= 0 {
		s := l.members[l.sops]
		return edit{s.start, s.end, text.String()}
	}
	return edit{last.end, last.end, "," + newline + indent + text.String()}
}

// withoutSops takes the metadata out, and the comma that it needs.
func (l *jsonLayout) withoutSops() edit {
	switch {
	case l.sops > 0:
		return edit{l.members[l.sops-1].end, l.members[l.sops].end, ""}
	case len(l.members) > 1:
		return edit{l.members[0].start, l.members[1].start, ""}
	}
	return edit{l.members[0].start, l.members[0].end, ""}
}
