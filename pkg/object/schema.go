package object

import (
	"maps"
	"slices"
)

// PasswordPaths are the paths, in steps, of the fields that an OpenAPI schema calls
// passwords (format: password); "*" stands for any key or index.
func PasswordPaths(schema map[string]any) [][]string {
	var out [][]string
	var walk func(schema map[string]any, at []string)
	walk = func(schema map[string]any, at []string) {
		if schema["format"] == "password" {
			out = append(out, at)
			return
		}
		below := func(v any, step string) {
			if m, ok := v.(map[string]any); ok {
				walk(m, append(at[:len(at):len(at)], step))
			}
		}
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			below(properties[name], name)
		}
		below(schema["items"], "*")
		below(schema["additionalProperties"], "*")
	}
	walk(schema, nil)
	return out
}
