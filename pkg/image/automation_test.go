package image

import (
	"strings"
	"testing"
)

// Every version that Flux had is read into one value.
func TestAutomationsOfEveryVersion(t *testing.T) {
	const git = "  sourceRef: {kind: GitRepository, name: fleet, namespace: infra}\n  git:\n    checkout: {ref: {branch: main}}\n    commit: {author: {name: bot, email: bot@example.com}, messageTemplate: x}\n" +
		"    push: {branch: bump}\n  update: {path: ./apps/}\n"
	for version, spec := range map[string]string{
		"v1alpha1": "  checkout: {gitRepositoryRef: {name: fleet}, branch: main}\n  commit: {authorName: bot, authorEmail: bot@example.com, messageTemplate: x}\n  push: {branch: bump}\n  update: {path: apps}\n",
		"v1alpha2": git, "v1beta1": git, "v1beta2": git, "v1": git,
	} {
		text := "# head\napiVersion: image.toolkit.fluxcd.io/" + version + "\nkind: ImageUpdateAutomation\nmetadata: {name: a, namespace: flux-system}\nspec:\n" + spec
		objects, problems := Read("f.yaml", []byte(text))
		if len(problems) > 0 || len(objects.Automations) != 1 {
			t.Fatalf("%s: %v", version, problems)
		}
		a := objects.Automations[0]
		if err := a.Check(); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		if a.CheckoutRef() != "main" || a.Push().Branch != "bump" || a.UpdatePath() != "apps" || a.Git().Commit.Author.Name != "bot" || a.SourceRef().Name != "fleet" ||
			a.Git().Commit.MessageTemplate != "x" || a.Line != 2 || !a.In("apps/x.yaml") || a.In("appsx.yaml") {
			t.Errorf("%s: %+v", version, a.Spec)
		}
	}
}

func TestPolicySelector(t *testing.T) {
	read := func(text string) Objects {
		t.Helper()
		objects, problems := Read("f.yaml", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return objects
	}
	const policies = "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: a, namespace: flux-system, labels: {team: x}}\nspec: {}\n---\n" +
		"apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: b, namespace: flux-system}\nspec: {}\n---\n" +
		"apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: c, namespace: shop, labels: {team: x}}\nspec: {}\n"
	for selector, want := range map[string]string{"": "ab", "{}": "ab", "{matchLabels: {team: x}}": "a", "{matchExpressions: [{key: team, operator: DoesNotExist}]}": "b"} {
		text := "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImageUpdateAutomation\nmetadata: {name: a, namespace: flux-system}\nspec:\n  interval: 1h\n"
		if selector != "" {
			text += "  policySelector: " + selector + "\n"
		}
		a := read(text).Automations[0]
		got := ""
		for _, p := range read(policies).Policies {
			if a.Takes(p) {
				got += p.Name
			}
		}
		if got != want {
			t.Errorf("%s: takes %s, want %s", selector, got, want)
		}
	}
	a := read("apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImageUpdateAutomation\nmetadata: {name: a}\nspec:\n  sourceRef: {kind: GitRepository, name: x}\n  policySelector: {matchExpressions: [{key: a, operator: Like}]}\n  git: {commit: {author: {email: x@example.com}}}\n").Automations[0]
	if err := a.Check(); err == nil || !strings.Contains(err.Error(), "f.yaml:6: ") || !strings.Contains(err.Error(), `"Like" is not a valid label selector operator`) {
		t.Error(err)
	}
}
