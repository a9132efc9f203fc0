package plugins

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// held are the pages that run, each with how many of its blocks are there to be
// read only, and how many commands it hides from the reader.
var held = map[string]struct{ read, hidden int }{
	"../CONTRIBUTING.md":          {},
	"../README.md":                {hidden: 1}, // an editor
	"../cmd/devcluster/README.md": {},
	"../docs/build.md":            {},
	"../docs/container.md":        {hidden: 1}, // pods that are played have no log
	"../docs/diff.md":             {},
	"../docs/guide.md":            {hidden: 9},
	"../docs/image.md":            {read: 1, hidden: 3}, // where markers may stand; a registry, a cluster and a forge
	"../docs/install.md":          {},
	"../docs/moving.md":           {read: 3, hidden: 1}, // an autoscaler
	"../docs/rbac.md":             {},
	"../docs/secret.md":           {},
	"../docs/sources.md":          {},
	"../docs/status.md":           {},
	"../docs/sync.md":             {read: 1, hidden: 1}, // a container that crashes; another run
	"../docs/troubleshooting.md":  {},
	"../docs/tutorial.md":         {},
}

// sittings are pages that are read one after another at one desk: each in a
// shell of its own, but with the home and the cluster that the first one has set
// up, which costs less. Each would run by itself, too.
var sittings = [][]string{
	{"../README.md", "../docs/rbac.md", "../docs/status.md", "../docs/sources.md", "../docs/container.md"},
}

// TestPages does what the pages tell, block by block, each on a cluster of its
// own. UPDATE_PAGES=1 writes what was shown into them.
func TestPages(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	all := slices.Clone(sittings)
	for file := range held {
		if !slices.ContainsFunc(sittings, func(pages []string) bool { return slices.Contains(pages, file) }) {
			all = append(all, []string{file})
		}
	}
	for _, pages := range all {
		var names []string
		for _, file := range pages {
			names = append(names, strings.TrimSuffix(strings.NewReplacer("../", "", "docs/", "", "/", "-").Replace(file), ".md"))
		}
		t.Run(strings.Join(names, "+"), func(t *testing.T) {
			t.Parallel()
			desk := t.TempDir()
			t.Cleanup(func() { // a page that says how to start one fails before it says how to stop it
				own := filepath.Join(desk, "home/.local/state/devcluster")
				if _, err := os.Stat(own); err == nil {
					_ = exec.Command("devcluster", "down", "--dir", own).Run()
				}
			})
			for _, file := range pages {
				readHeld(t, file, desk)
			}
		})
	}
}

// readHeld does what one page tells, at a desk that others may have used.
func readHeld(t *testing.T, file, desk string) {
	p, err := readPage(file)
	if err != nil {
		t.Fatal(err)
	}
	r := reader{page: p, term: openTerminal(t, desk), update: os.Getenv("UPDATE_PAGES") != ""}
	err = r.follow()
	if r.update {
		r.write(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := held[file]; r.read != want.read || r.hidden != want.hidden {
		t.Errorf("%s: %d blocks are only read and %d commands are hidden, want %d and %d: a reader can check none of them", file, r.read, r.hidden, want.read, want.hidden)
	}
}

// A reader does what a page says.
type reader struct {
	page   *page
	term   *terminal
	update bool

	read, hidden int
	new          []part // what was shown where the page has something else; for update
}

func (r *reader) follow() error {
	shown, last := "", -2
	for i, b := range r.page.parts {
		at := func(line int, format string, args ...any) error {
			return fmt.Errorf("%s:%d: %s", r.page.file, b.line+line, fmt.Sprintf(format, args...))
		}
		switch {
		case b.lang == directive:
			if err := r.direct(b.text); err != nil {
				return at(0, "%v", err)
			}
		case b.lang == "sh":
			exit, err := b.exit()
			if err != nil {
				return at(-1, "%v", err)
			}
			out, line, err := r.term.run(b.text, exit)
			if err != nil {
				return at(max(line-1, 0), "%v", err)
			}
			shown, last = out, i
		case b.lang == "text" && last == i-1:
			if !shows(b.text, shown) {
				if !r.update {
					return at(0, "the command above shows this now; UPDATE_PAGES=1 writes it here:\n%s", shown)
				}
				if strings.Contains(shown, "```") && !strings.HasPrefix(r.page.lines[b.line-2], "````") {
					return at(-1, "what was shown has a block in it: begin and end this one with ````")
				}
				b.info = shown
				r.new = append(r.new, b)
			}
		case b.lang == "text":
			return at(-1, "a block of output follows the command that it is of")
		case b.lang == "diff":
			if err := edit(r.term.cwd(), r.term.here(b.text)); err != nil {
				return at(0, "%v", err)
			}
		case heldElsewhere(b):
		default:
			if b.lang == "yaml" {
				if err := checkYAML(b.text); err != nil {
					return at(0, "%v", err)
				}
			}
			name := b.fileName()
			if name == "" {
				r.read++
				continue
			}
			file := filepath.Join(r.term.cwd(), name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return at(0, "%v", err)
			}
			if err := os.WriteFile(file, []byte(r.term.here(b.text)), 0o644); err != nil {
				return at(0, "%v", err)
			}
		}
	}
	return nil
}

// write puts what was shown into the page.
func (r *reader) write(t *testing.T) {
	for i := len(r.new) - 1; i >= 0; i-- {
		r.page.replaced(r.new[i], r.new[i].info)
	}
	if err := os.WriteFile(r.page.file, []byte(strings.Join(r.page.lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// direct sets up what a reader has already.
func (r *reader) direct(text string) error {
	name, rest, _ := strings.Cut(text, " ")
	args := strings.Fields(rest)
	usage := func(n int) error {
		if len(args) != n {
			return fmt.Errorf("%s: want %d arguments", name, n)
		}
		return nil
	}
	switch name {
	case "cluster": // cluster CONTEXT [apiserver]: a devcluster, or its API server alone, that kubectl has under this name
		if len(args) == 1 {
			args = append(args, "all")
		}
		if err := usage(2); err != nil {
			return err
		}
		return r.cluster(args[0], args[1])
	case "remote": // remote URL: an empty repository there
		if err := usage(1); err != nil {
			return err
		}
		dir := filepath.Join(r.term.dir, filepath.Base(args[0])+".git")
		r.term.back = append(r.term.back, "file://"+dir, args[0], dir, args[0])
		return r.hide(fmt.Sprintf("git init -q --bare %s && git config --global url.file://%s.insteadOf %s", dir, dir, args[0]))
	case "registry": // registry HOST USER: one with this user, whose password is in REGISTRY_TOKEN
		if err := usage(2); err != nil {
			return err
		}
		at := filepath.Join(r.term.dir, "registry")
		if err := r.hide(fmt.Sprintf(registry, at, args[1])); err != nil {
			return err
		}
		host, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		r.stands(args[0], strings.TrimSpace(string(host)))
		return nil
	case "fluxcrds": // the cluster has Flux's kinds, and no controller
		files, err := fluxCRDFiles("kustomize-controller", "source-controller", "image-reflector-controller", "image-automation-controller")
		if err != nil {
			return err
		}
		if err := r.hide("kubectl apply --server-side -f " + strings.Join(files, " -f ")); err != nil {
			return err
		}
		return r.hide("until kubectl wait --for=condition=Established crd --all; do sleep 0.2; done") // it gives up on one without conditions
	case "demo": // demo DIR: the repository of testdata/demo in DIR/repo, its age key in DIR/age.key
		if err := usage(1); err != nil {
			return err
		}
		script, err := filepath.Abs("../testdata/demo-repo.sh")
		if err != nil {
			return err
		}
		return r.hide(fmt.Sprintf("[ -e %s/repo ] || sh '%s' %s", args[0], script, args[0]))
	case "port": // port HOST:PORT: a free one takes its place
		if err := usage(1); err != nil {
			return err
		}
		// One that the kernel gives to nobody who asks for any: it is free still when the page takes it.
		for port := 20000 + os.Getpid()%5000; port < 30000; port++ {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				r.stands(args[0], l.Addr().String())
				return l.Close()
			}
		}
		return errors.New("no port is free")
	case "shop": // shop URL HOST [DIR]: the demo repository and its images there, the key that its secrets are sealed to, and a clone in DIR
		if len(args) == 2 {
			args = append(args, "")
		}
		if err := usage(3); err != nil {
			return err
		}
		root, err := filepath.Abs("..")
		if err != nil {
			return err
		}
		return r.hide(fmt.Sprintf(shop, root, filepath.Join(r.term.dir, "shop"), args[0], args[1], args[2]))
	case "checkout": // checkout DIR [URL]: this repository, built, in DIR; a clone of URL is one of it
		if len(args) == 1 {
			args = append(args, "")
		}
		if err := usage(2); err != nil {
			return err
		}
		return r.checkout(args[0], args[1])
	case "uninstalled": // uninstalled: none of these plugins is on PATH; krew is, and folders for what is installed
		return r.uninstalled()
	case "docker": // docker: plays it, for a test has no daemon
		play, err := filepath.Abs("../testdata/docker.sh")
		if err != nil {
			return err
		}
		r.term.write("bin/docker", "#!/bin/sh\nexec sh "+play+" \"$@\"\n")
		return os.Chmod(filepath.Join(r.term.dir, "bin/docker"), 0o755)
	case "instead": // instead TEXT => OTHER: what would take too long
		text, other, ok := strings.Cut(rest, " => ")
		if !ok {
			return fmt.Errorf("instead: want TEXT => OTHER")
		}
		r.hidden++
		r.stands(text, other)
		return nil
	case "sh": // sh COMMAND: what happens elsewhere meanwhile
		r.hidden++
		return r.hide(rest)
	}
	return fmt.Errorf("there is no directive %q", name)
}

// The registry ends with the shell that began it.
const registry = `at=%s
if [ ! -e $at.token ]; then
	od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >$at.token
	REGISTRY_PASSWORD=$(cat $at.token) demo-registry -user %s -at $at &
	until [ -s $at ]; do sleep 0.05; done
fi
export REGISTRY_TOKEN=$(cat $at.token)
unset at`

// The images are pushed as they stand in the repository, each of one file.
const shop = `root=%s dir=%s url=%s host=%s clone=%s
if [ ! -e $dir ]; then
DEMO_REGISTRY=$host REGISTRY_PASSWORD=$REGISTRY_TOKEN sh $root/testdata/demo-repo.sh $dir
git -C $dir/repo push -q $url main
mkdir -p ~/.config/sops/age
cp $dir/age.key ~/.config/sops/age/keys.txt
printf %%s "$REGISTRY_TOKEN" | crane auth login -u shop --password-stdin $host
tar -cf $dir/layer.tar -C $root/testdata demo.sh
for image in $(grep -ho "$host/[^ ]*" $dir/repo/apps/*/deployment.yaml | sort -u); do
	crane append --new_layer $dir/layer.tar --new_tag $image
done
rm ~/.docker/config.json
fi
[ -z "$clone" ] || [ -e "$clone" ] || git clone -q $url $clone
unset root dir url host clone image`

// stands lets something else stand for a text of the page.
func (r *reader) stands(text, here string) {
	r.term.forward = append(r.term.forward, text, here)
	r.term.back = append(r.term.back, here, text)
}

func (r *reader) hide(command string) error {
	_, _, err := r.term.run(command+"\n", "0")
	return err
}

func (r *reader) cluster(context, components string) error {
	dir := filepath.Join(r.term.dir, "cluster")
	if _, err := os.Stat(dir); err == nil { // of an earlier page at this desk
		return r.hide("kubectl config use-context " + context)
	}
	if out, err := exec.Command("devcluster", "up", "--components", components, "--dir", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("devcluster up: %w\n%s", err, out)
	}
	r.term.t.Cleanup(func() {
		if out, err := exec.Command("devcluster", "down", "--dir", dir).CombinedOutput(); err != nil {
			r.term.t.Errorf("devcluster down: %v\n%s", err, out)
		}
	})
	config, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return err
	}
	r.term.write("home/.kube/config", string(config))
	if context == "devcluster" {
		return nil
	}
	return r.hide("kubectl config rename-context devcluster " + context)
}

// A page that is wrong says where, and what.
func TestPagesTellWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a command that fails":         {"# T\n\n```sh\ntrue\nsh -c 'exit 3'\necho no\n```\n", "page.md:5: ends with 3, want 0"},
		"one that does not fail":       {"```sh exit=1\ntrue\n```\n", "page.md:2: ends with 0, want 1"},
		"several that should":          {"```sh exit=1\ntrue\nfalse\n```\n", "page.md:1: a block with exit=N has one command"},
		"other output":                 {"```sh\necho a\n```\n\n```text\nb\n```\n", "page.md:6: the command above shows this now"},
		"output of nothing":            {"```text\nb\n```\n", "page.md:1: a block of output follows the command"},
		"a key that is there twice":    {"```yaml\na: 1\na: 2\n```\n", "page.md:2: yaml: "},
		"an edit of what is not there": {"```yaml\n# x.yaml\na: 1\n```\n```diff\n--- a/x.yaml\n+++ b/x.yaml\n-b: 1\n+b: 2\n```\n", "page.md:6: x.yaml has these lines 0 times"},
		"a block without an end":       {"\n```sh\ntrue\n", "page.md:2: the block does not end"},
		"a directive of no kind":       {"<!-- test: moon -->\n", `page.md:1: there is no directive "moon"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parsePage("page.md", c.text)
			if err == nil {
				err = (&reader{page: p, term: newTerminal(t)}).follow()
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// One shell, files, edits, codes; what is never the same twice matches itself,
// and an image's tag only that tag.
func TestPagesAreDoneInOrder(t *testing.T) {
	text := "```sh\nmkdir repo\ncd repo\nX=1\n```\n```yaml\n# a/x.yaml\na: 1 # kept\n```\n```diff\n--- a/a/x.yaml\n+++ b/a/x.yaml\n@@\n-a: 1 # kept\n+a: 2 # kept\n```\n" +
		"```sh exit=4\nsh -c 'echo $0 main@sha1:4091d9ac 0.4s main-3f2c9d1-1755590400; exit 4' \\\n  b\n```\n```text\nb main@sha1:… 12.3s main-3f2c9d1-1755590400\n```\n" +
		"```sh\necho $X\ncat a/x.yaml\n```\n```text\n1\n…\na: 2 # kept\n```\n```\nread\n```\n"
	p, err := parsePage("page.md", text)
	if err != nil {
		t.Fatal(err)
	}
	r := reader{page: p, term: newTerminal(t)}
	if err := r.follow(); err != nil {
		t.Fatal(err)
	}
	if r.read != 1 {
		t.Errorf("%d blocks were read only, want 1", r.read)
	}
	for want, got := range map[string]string{
		"main-3f2c9d1-1755590400": "main-3f2c9d1-1755590401", "a\n…": "b", "x": "x\ny", "a: …b": "a: c",
	} {
		if shows(want, got) {
			t.Errorf("%q shows %q", want, got)
		}
	}
	for want, got := range map[string]string{
		"pushed 4e1f0c2 to main": "pushed 0000000 to main", "x  3 ready": "x 3 ready\n", "a\n…\nb": "a\nb", "at 2026-03-02T08:00:00Z": "at 2027-03-02T08:00:01Z", "Date: Tue Nov 24 15:07:16 2026 +0000": "Date: Wed Jan 6 03:00:00 2027 -0330",
		"✔ a\n    one\n✔ b\nend": "✔ b\n✔ a\n    one\nend", "✔ a": "a: waiting for x\nother/b: rendering c\n✔ a",
		"ready in 2.4s": "ready in 3s", "ready in 3s": "ready in 2.4s", "took 59.9s": "took 1m05s", "took 1m05s": "took 59.9s",
	} {
		if !shows(want, got) {
			t.Errorf("%q does not show %q", want, got)
		}
	}
}

// What a run says only where it takes long is no part of what a page shows, be it
// new: a machine that is slow one day would fail the page.
func TestProgressIsNoPartOfAPage(t *testing.T) {
	files, err := filepath.Glob("../pkg/gitops/*.go")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`\.progress\([^"\n]*"([^"%]*)|\.Progress\("([^"%]*)`)
	n := 0
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range said.FindAllStringSubmatch(string(code), -1) {
			n++
			if line := "apps: " + m[1] + m[2]; !underway.MatchString(line) {
				t.Errorf("%s: %q is not among the words of underway", file, line)
			}
		}
		if calls := strings.Count(string(code), ".progress("); calls != len(said.FindAllString(string(code), -1)) {
			t.Errorf("%s: %d times it says what is under way, and not each time in words that can be read here", file, calls)
		}
	}
	if n < 15 {
		t.Errorf("found %d words for what is under way: the pattern no longer fits the code", n)
	}
}
