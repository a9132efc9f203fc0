package image

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// bom is the byte order mark of UTF-8, which is no column.
var bom = []byte("\xef\xbb\xbf")

// lines finds the byte offset at which each line of data starts, with the line
// breaks of YAML 1.1, which are those of the parser: \n, \r, \r\n, NEL, LS, PS.
func lines(data []byte) []int {
	starts := []int{0}
	if bytes.HasPrefix(data, bom) {
		starts[0] = len(bom)
	}
	for i := starts[0]; i < len(data); {
		n := lineBreak(data[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		starts = append(starts, i)
	}
	return starts
}

// lineBreak is the length of the line break that b begins with, 0 if none.
func lineBreak(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("\r\n")):
		return 2
	case b[0] == '\n', b[0] == '\r':
		return 1
	case bytes.HasPrefix(b, []byte("\u0085")):
		return 2
	case bytes.HasPrefix(b, []byte("\u2028")), bytes.HasPrefix(b, []byte("\u2029")):
		return 3
	}
	return 0
}

// place is where the text of a scalar stands, quotes not included.
type place struct {
	start, end int  // byte offsets
	quote      byte // ', " or 0
}

// locate finds the bytes of a scalar by the line and column of its node. It
// refuses what is not one run of bytes in one line, and what says that it is no text.
func locate(data []byte, starts []int, n *yaml.Node) (place, error) {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return place{}, errors.New("is a text block")
	}
	if n.Style&yaml.TaggedStyle != 0 && strings.HasPrefix(n.Tag, "!!") && n.Tag != "!!str" {
		return place{}, fmt.Errorf("is tagged %s, which no image can be", n.Tag)
	}
	if n.Line < 1 || n.Line > len(starts) {
		return place{}, errors.New("cannot be found in the file")
	}
	at := starts[n.Line-1]
	for range n.Column - 1 { // the parser counts characters
		if at >= len(data) {
			return place{}, errors.New("cannot be found in the file")
		}
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	at = skipProperties(data, at)
	if at >= len(data) {
		return place{}, errors.New("is empty: there is nothing to replace")
	}
	quote := byte(0)
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		quote = '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		quote = '\''
	}
	if quote == 0 {
		if n.Value == "" {
			return place{}, errors.New("is empty: there is nothing to replace")
		}
		if !bytes.HasPrefix(data[at:], []byte(n.Value)) {
			return place{}, errors.New("goes over several lines")
		}
		return place{start: at, end: at + len(n.Value)}, nil
	}
	if data[at] != quote {
		return place{}, errors.New("cannot be found in the file")
	}
	at++
	end := at
	for ; ; end++ {
		if end >= len(data) || lineBreak(data[end:]) > 0 {
			return place{}, errors.New("goes over several lines")
		}
		if quote == '"' && data[end] == '\\' {
			end++
			continue
		}
		if data[end] == quote {
			if quote == '\'' && end+1 < len(data) && data[end+1] == quote {
				end++
				continue
			}
			break
		}
	}
	var value string
	if yaml.Unmarshal(data[at-1:end+1], &value) != nil || value != n.Value {
		return place{}, errors.New("cannot be found in the file")
	}
	return place{start: at, end: end, quote: quote}, nil
}

// skipProperties skips the anchor and the tag of a scalar: &a !!str value.
func skipProperties(data []byte, at int) int {
	for at < len(data) && (data[at] == '&' || data[at] == '!') {
		for at < len(data) && !strings.ContainsRune(" \t\r\n", rune(data[at])) {
			at++
		}
		for at < len(data) && (data[at] == ' ' || data[at] == '\t') {
			at++
		}
	}
	return at
}
