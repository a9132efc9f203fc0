package source

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// readSSHConfig reads what ~/.ssh/config says for a host (ssh_config(5)): by key in lower case, the
// first value first. Host and Include are understood; what stands in a Match block is left out,
// as its conditions may run commands.
func readSSHConfig(env environment, host string) (map[string][]string, error) {
	settings := map[string][]string{}
	home := env.home()
	if home == "" {
		return settings, nil
	}
	c := &sshConfig{env: env, dir: filepath.Join(home, ".ssh"), host: host, settings: settings}
	return settings, c.read(filepath.Join(c.dir, "config"), true, 0)
}

type sshConfig struct {
	env       environment
	dir, host string
	settings  map[string][]string
}

func (c *sshConfig) read(name string, applies bool, depth int) error {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || depth > 8 {
		return nil
	}
	if err != nil {
		return unreadable(name, err)
	}
	for line := range strings.Lines(string(text)) {
		key, values := sshConfigLine(line)
		switch {
		case key == "" || len(values) == 0:
		case key == "host":
			applies = sshHostMatches(values, c.host)
		case key == "match":
			applies = slices.Equal(values, []string{"all"})
		case !applies:
		case key == "include":
			for _, pattern := range values {
				names, _ := filepath.Glob(absolute(c.dir, c.env.expandHome(pattern)))
				for _, n := range names {
					if err := c.read(n, true, depth+1); err != nil {
						return err
					}
				}
			}
		default:
			c.settings[key] = append(c.settings[key], strings.Join(values, " "))
		}
	}
	return nil
}

// sshConfigLine splits "Key value", "Key=value" and "Key "a value"".
func sshConfigLine(line string) (key string, values []string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return strings.ToLower(line), nil
	}
	key = strings.ToLower(line[:i])
	rest := strings.TrimLeft(line[i:], " \t")
	rest = strings.TrimLeft(strings.TrimPrefix(rest, "="), " \t")
	for rest != "" {
		var v string
		if rest[0] == '"' {
			v, rest, _ = strings.Cut(rest[1:], `"`)
		} else if j := strings.IndexAny(rest, " \t"); j >= 0 {
			v, rest = rest[:j], rest[j:]
		} else {
			v, rest = rest, ""
		}
		values = append(values, v)
		rest = strings.TrimLeft(rest, " \t")
	}
	return key, values
}

// sshHostMatches follows ssh: one pattern must match, and none that begins with "!".
func sshHostMatches(patterns []string, host string) bool {
	hit := false
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		ok, err := path.Match(strings.ToLower(p), strings.ToLower(host))
		if err != nil || !ok {
			continue
		}
		if not {
			return false
		}
		hit = true
	}
	return hit
}
