package plugins

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A ciStep is a step of a workflow of GitHub's, or the script of a job of
// GitLab's.
type ciStep struct {
	Name string
	Uses string
	Run  string
	Env  map[string]string
}

// ciSteps are the steps of a block, by job, and which file the block is.
func ciSteps(b part) (map[string][]ciStep, error) {
	jobs := map[string][]ciStep{}
	if strings.HasPrefix(b.fileName(), ".github/") {
		var workflow struct {
			Jobs map[string]struct{ Steps []ciStep }
		}
		err := yaml.Unmarshal([]byte(b.text), &workflow)
		for name, job := range workflow.Jobs {
			jobs[name] = job.Steps
		}
		return jobs, err
	}
	var pipeline map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(b.text), &pipeline); err != nil {
		return nil, err
	}
	for name, node := range pipeline {
		var job struct{ Script []string }
		if node.Kind != yaml.MappingNode {
			continue
		}
		if err := node.Decode(&job); err != nil {
			return nil, err
		}
		jobs[name] = []ciStep{{Uses: "checkout"}, {Run: strings.Join(job.Script, "\n")}}
	}
	return jobs, nil
}

// What docs/ci.md gives to a forge runs here, step by step, in a checkout as the
// forge makes it: of a pull request detached, of a push a branch. Only gh is
// played: it shows the comment that it would post.
func TestWhatCIDoes(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	t.Parallel()
	p, err := readPage("../docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	r := reader{page: p, term: newTerminal(t)}
	r.term.write("bin/gh", "#!/bin/sh\nfor last; do :; done\ncat \"$last\"\n")
	for _, setup := range []string{"cluster vps", "registry registry.example.com shop"} {
		if err := r.direct(setup); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.hide(r.term.here("export DEMO_REGISTRY=registry.example.com REGISTRY_PASSWORD=$REGISTRY_TOKEN DOCKER_CONFIG=$HOME/docker")); err != nil {
		t.Fatal(err)
	}
	for _, setup := range []string{"demo ~/demo", "remote https://git.example.com/shop/gitops"} {
		if err := r.direct(setup); err != nil {
			t.Fatal(err)
		}
	}
	run := func(command string) string {
		t.Helper()
		shown, line, err := r.term.run(command+"\n", "0")
		if err != nil {
			t.Fatalf("%s\nline %d: %v", command, line, err)
		}
		return shown
	}
	run(`chmod +x ~/../bin/gh
cd ~/demo/repo
git push -q https://git.example.com/shop/gitops main
sed -i 's/LOG_LEVEL: info/LOG_LEVEL: debug/' apps/api-gateway/config.yaml
git commit -q -a -m "debug"
git push -q https://git.example.com/shop/gitops HEAD:topic
cp ~/.kube/config ~/kubeconfig
touch ~/layer
tar -cf ~/layer.tar -C ~ layer
printf %s "$REGISTRY_TOKEN" | crane auth login -u shop --password-stdin registry.example.com
for image in api-gateway:main-0c9d7f3-1755763200 api-generation:main-e52fa18-1755763260 api-enrichment:main-77b1c0e-1755763320; do
	crane append --new_layer ~/layer.tar --new_tag registry.example.com/shop/$image
done`)
	run("unset DOCKER_CONFIG")
	kubeconfig, key := run("cat ~/kubeconfig"), run("grep -v '^#' ~/demo/age.key")
	values := map[string]string{
		"secrets.KUBECONFIG_READER": kubeconfig, "secrets.KUBECONFIG_WRITER": kubeconfig, "secrets.SOPS_AGE_KEY": strings.TrimSpace(key),
		"github.token": "token", "github.event.number": "7",
	}
	expression := regexp.MustCompile(`\$\{\{ ([\w.]+) \}\}`)
	expand := func(s string) string {
		return expression.ReplaceAllStringFunc(s, func(m string) string {
			v, ok := values[expression.FindStringSubmatch(m)[1]]
			if !ok {
				t.Fatalf("nothing stands for %s here", m)
			}
			return v
		})
	}

	want := map[string]string{ // what the last step of a job leaves behind
		".github/workflows/diff.yaml diff":         `grep -q '+  LOG_LEVEL: debug' diff.md "$GITHUB_STEP_SUMMARY"`,
		".github/workflows/diff-cluster.yaml diff": `grep -q 'namespace/app. create' "$GITHUB_STEP_SUMMARY"`,
		".github/workflows/sync.yaml sync":         `kubectl --kubeconfig ~/kubeconfig -n app rollout status deployment/api-gateway`,
		".github/workflows/images.yaml update":     `git fetch -q && git log -1 --format=%B origin/main | grep -q main-0c9d7f3-1755763200`,
		".gitlab-ci.yml diff":                      `grep -q '+  LOG_LEVEL: debug' diff.md`,
		".gitlab-ci.yml images":                    `true`,
		".gitlab-ci.yml sync":                      `kubectl gitops status apps`,
	}
	for _, b := range p.parts {
		if b.lang != "yaml" {
			continue
		}
		jobs, err := ciSteps(b)
		if err != nil {
			t.Fatalf("docs/ci.md:%d: %v", b.line, err)
		}
		for _, name := range slices.Sorted(maps.Keys(jobs)) {
			id := b.fileName() + " " + name
			check, ok := want[id]
			if !ok {
				t.Fatalf("docs/ci.md:%d: nobody knows what %s is to leave behind", b.line, id)
			}
			delete(want, id)
			checkout := "git checkout -q main"
			env := "export GITHUB_ACTIONS=true GITHUB_BASE_REF=main CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main GITHUB_STEP_SUMMARY=$HOME/summary\n"
			if name == "diff" {
				checkout = "git checkout -q --detach origin/topic"
			}
			if strings.HasPrefix(id, ".gitlab") {
				env += "export KUBECONFIG=$HOME/kubeconfig SOPS_AGE_KEY_FILE=$HOME/demo/age.key GITOPS_GIT_USERNAME=bot GITOPS_GIT_TOKEN=token\n"
			}
			run("cd ~ && rm -rf .kube summary work && touch summary")
			for _, s := range jobs[name] {
				switch {
				case strings.Contains(s.Uses, "checkout"):
					run("git clone -q https://git.example.com/shop/gitops ~/work && cd ~/work && " + checkout)
				case s.Uses != "":
					t.Fatalf("docs/ci.md:%d: nothing plays %s here", b.line, s.Uses)
				default:
					var exports strings.Builder
					for k, v := range s.Env {
						fmt.Fprintf(&exports, "export %s='%s'\n", k, strings.ReplaceAll(expand(v), "'", `'\''`))
					}
					run("( set -e\n" + env + exports.String() + expand(s.Run) + "\n)")
				}
			}
			run("( set -e\n" + env + check + "\n)")
		}
	}
	for _, b := range p.parts {
		if b.lang == "sh" { // what is typed once
			run("( cd ~/work\nexport KUBECONFIG=$HOME/kubeconfig SOPS_AGE_KEY_FILE=$HOME/demo/age.key\n" + b.text + ")")
		}
	}
	for id := range want {
		t.Errorf("docs/ci.md has no %s", id)
	}
}
