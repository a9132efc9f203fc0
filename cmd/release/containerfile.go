package main

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// containerfile is what a Containerfile says of an image that is made of nothing:
// which files are in it, and how it is run.
type containerfile struct {
	copies []copied
	config v1.Config
}

// copied is a file of the directory that is built from, and where it goes.
type copied struct{ from, to string }

// parseContainerfile reads the instructions that an image without a base and
// without a step to run needs. Any other is an error: it would be left out here
// and not by an engine.
func parseContainerfile(text string) (*containerfile, error) {
	c := &containerfile{config: v1.Config{Labels: map[string]string{}}}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		args := strings.Fields(rest)
		wrong := func(want string) error {
			return fmt.Errorf("Containerfile:%d: %s: want %s", i+1, line, want)
		}
		switch word {
		case "FROM":
			if rest != "scratch" {
				return nil, wrong("FROM scratch: nothing is fetched")
			}
		case "COPY":
			if len(args) < 2 || strings.HasPrefix(args[0], "-") || !path.IsAbs(args[len(args)-1]) {
				return nil, wrong("COPY FILE… /PATH")
			}
			to := args[len(args)-1]
			if len(args) > 2 && !strings.HasSuffix(to, "/") {
				return nil, wrong("a directory, with a / at its end, for several files")
			}
			for _, from := range args[:len(args)-1] {
				at := to
				if strings.HasSuffix(to, "/") {
					at += path.Base(from)
				}
				c.copies = append(c.copies, copied{from, strings.TrimPrefix(at, "/")})
			}
		case "ENV", "LABEL":
			for _, pair := range args {
				k, v, ok := strings.Cut(pair, "=")
				if !ok || strings.ContainsAny(pair, `"'$\`) {
					return nil, wrong(word + " NAME=VALUE, plain")
				}
				if word == "ENV" {
					c.config.Env = append(c.config.Env, pair)
				} else {
					c.config.Labels[k] = v
				}
			}
		case "USER":
			c.config.User = rest
		case "ENTRYPOINT":
			if json.Unmarshal([]byte(rest), &c.config.Entrypoint) != nil {
				return nil, wrong(`ENTRYPOINT ["PROGRAM"]`)
			}
		default:
			return nil, wrong("FROM, COPY, ENV, LABEL, USER or ENTRYPOINT")
		}
	}
	return c, nil
}
