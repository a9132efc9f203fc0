package ui

import "strings"

// umbrella is how errors and hints name this program, whoever typed what.
const umbrella = "kubectl gitops "

// Typed is text with the commands in it as this program was called: name is
// "kubectl gitops", "kubectl gitops sync", "kubectl gitops-sync" (which krew makes
// of a plugin of one verb: of other verbs nothing is known) or "flux gitops".
func Typed(name, text string) string {
	if name == "" || strings.HasPrefix(name+" ", umbrella) {
		return text
	}
	if verb, alone := strings.CutPrefix(name, "kubectl gitops-"); alone {
		return strings.TrimSuffix(strings.ReplaceAll(text+" ", umbrella+verb+" ", name+" "), " ")
	}
	if rest, flux := strings.CutPrefix(name, "flux gitops"); flux && rest != "" {
		name = "flux gitops" // one of its plugins by itself
	}
	return strings.ReplaceAll(text, umbrella, name+" ")
}
