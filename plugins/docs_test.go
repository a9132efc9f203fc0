package plugins

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/sync"
)

// A code is what people search for: each that a report can carry is explained.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/sync.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../pkg/gitops/*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?:(?:Problem|Warning)\{\s*|\n\t+)Code:\s+"([a-z-]+)", (?:File|Object|Message)|problem\.Code = "([a-z-]+)"`)
	n := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range codes.FindAllStringSubmatch(string(source), -1) {
			n++
			if code := m[1] + m[2]; !strings.Contains(string(doc), "`"+code+"`") {
				t.Errorf("docs/sync.md does not explain %s, of %s", code, filepath.Base(file))
			}
		}
	}
	if n < 20 {
		t.Errorf("found %d codes in pkg/gitops: the pattern no longer fits the code", n)
	}
}

// The CronJob gives flags that sync has, and ends by itself before it is killed.
func TestCronJobEndsItself(t *testing.T) {
	data, err := os.ReadFile("../deploy/cronjob.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.CronJob
	if err := yaml.UnmarshalStrict(data, &job); err != nil {
		t.Fatal(err)
	}
	spec := job.Spec.JobTemplate.Spec
	args := spec.Template.Spec.Containers[0].Args
	env := &cli.Env{Name: "kubectl gitops", Kube: genericclioptions.NewConfigFlags(true)}
	command := sync.New(env)
	if args[0] != "sync" || command.ParseFlags(args[1:]) != nil {
		t.Fatalf("args %v", args)
	}
	limit, err := command.Flags().GetDuration("run-timeout")
	if err != nil || limit <= 0 || limit >= time.Duration(*spec.ActiveDeadlineSeconds)*time.Second {
		t.Errorf("--run-timeout %s, activeDeadlineSeconds %d: %v", limit, *spec.ActiveDeadlineSeconds, err)
	}
	if job.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
		t.Errorf("concurrencyPolicy %s", job.Spec.ConcurrencyPolicy)
	}
}
