package source

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/config"
)

// environment is a process environment, "NAME=VALUE" each, as os.Environ returns it.
type environment []string

// get is the value of the last entry for name, or "".
func (e environment) get(name string) string {
	for i := len(e) - 1; i >= 0; i-- {
		k, v, _ := strings.Cut(e[i], "=")
		if k == name || runtime.GOOS == "windows" && strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

func (e environment) home() string {
	if h := e.get("HOME"); h != "" || runtime.GOOS != "windows" {
		return h
	}
	return e.get("USERPROFILE")
}

// git is the git binary on the environment's PATH, or "".
func (e environment) git() string {
	for _, dir := range filepath.SplitList(e.get("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if name, err := exec.LookPath(filepath.Join(dir, "git")); err == nil {
			return name
		}
	}
	return ""
}

// configs are the user's and the system's Git configurations that can be read, strongest first.
// Files that they include are not read.
func (e environment) configs() []*config.Config {
	var names []string
	if name := e.get("GIT_CONFIG_GLOBAL"); name != "" {
		names = append(names, name)
	} else {
		if h := e.home(); h != "" {
			names = append(names, filepath.Join(h, ".gitconfig"))
		}
		if x := e.xdgConfig(); x != "" {
			names = append(names, filepath.Join(x, "git", "config"))
		}
	}
	if e.get("GIT_CONFIG_NOSYSTEM") == "" && len(e) > 0 {
		names = append(names, "/etc/gitconfig")
	}
	var out []*config.Config
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		c := config.New()
		if config.NewDecoder(bytes.NewReader(text)).Decode(c) == nil {
			out = append(out, c)
		}
	}
	return out
}

func (e environment) xdgConfig() string {
	if x := e.get("XDG_CONFIG_HOME"); x != "" {
		return x
	}
	if h := e.home(); h != "" {
		return filepath.Join(h, ".config")
	}
	return ""
}

// expandHome resolves a leading ~/ as Git and ssh do in their configurations.
func (e environment) expandHome(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok && e.home() != "" {
		return filepath.Join(e.home(), filepath.FromSlash(rest))
	}
	return name
}

// configs are the repository's own configuration, then the user's and the system's.
func (r *repository) configs() []*config.Config {
	return append([]*config.Config{r.config}, r.env.configs()...)
}

// excludesFile is the user's own list of ignored files, or "".
func (r *repository) excludesFile() string {
	for _, c := range r.configs() {
		if name := c.Section("core").Option("excludesfile"); name != "" {
			return absolute(r.top, r.env.expandHome(name))
		}
	}
	if x := r.env.xdgConfig(); x != "" {
		return filepath.Join(x, "git", "ignore")
	}
	return ""
}

// hasFilter reports whether a clean filter is configured other than Git LFS's, which is known.
func (r *repository) hasFilter() bool {
	for _, c := range r.configs() {
		for _, s := range c.Section("filter").Subsections {
			if s.Name != "lfs" && (s.Option("clean") != "" || s.Option("process") != "") {
				return true
			}
		}
	}
	return false
}
