package ui

import (
	"fmt"
	"strings"
	"unicode"
)

// annotation is a workflow command of GitHub Actions that marks a line in the
// pull request: ::error file=F,line=L::message. Escapes as in @actions/core's
// command.ts.
func annotation(level, file string, line int, message string) string {
	var properties []string
	if file != "" {
		properties = append(properties, "file="+propertyEscapes.Replace(cleanLine(file)))
		if line > 0 {
			properties = append(properties, fmt.Sprintf("line=%d", line))
		}
	}
	s := "::" + level
	if len(properties) > 0 {
		s += " " + strings.Join(properties, ",")
	}
	return s + "::" + dataEscapes.Replace(clean(message)) + "\n"
}

var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", "##[", `##\x5b`)
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// disarm keeps a line of ours from being taken for a workflow command: the
// runner obeys lines that begin with "::", and "##[" wherever it stands, also
// when a message from the server brought it.
func disarm(line string) string {
	line = strings.ReplaceAll(line, "##[", `##\x5b`)
	if text := strings.TrimLeftFunc(line, unicode.IsSpace); strings.HasPrefix(text, "::") {
		line = line[:len(line)-len(text)] + `\x3a` + text[1:]
	}
	return line
}
