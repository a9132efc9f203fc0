package ui

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

const firstLine = "cluster: k3s (https://203.0.113.7:6443)  root: clusters/vps  revision: main@sha1:9d22ce7"

// change is "created deployment.apps/web in shop" taken apart.
func change(action, group, kind, namespace, name, message string) gitops.ChangeReport {
	return gitops.ChangeReport{Group: group, Version: "v1", Kind: kind, Namespace: namespace, Name: name, Action: action, Message: message}
}

// kustomization is a report whose counts are those of its changes.
func kustomization(name, status string, secs float64, unchanged int, changes ...gitops.ChangeReport) gitops.KustomizationReport {
	r := ref(name)
	k := gitops.KustomizationReport{Namespace: r.Namespace, Name: r.Name, Path: "./" + r.Name, Status: status, Seconds: secs, Changes: changes}
	for _, c := range changes {
		k.Written.Add(c.Action)
	}
	k.Written.Unchanged = unchanged
	k.Written.Objects = unchanged + len(changes)
	return k
}

func infra() gitops.KustomizationReport {
	return kustomization("infra", "ready", 0.94, 0,
		change("created", "", "Namespace", "", "app", ""),
		change("created", "", "Service", "kube-system", "traefik", ""),
		change("created", "apps", "Deployment", "kube-system", "traefik", ""))
}

func apps() gitops.KustomizationReport {
	return kustomization("apps", "ready", 4.06, 38,
		change("configured", "apps", "Deployment", "app", "api-gateway", "fields differ"),
		change("deleted", "", "ConfigMap", "app", "flags", ""))
}

func databases() gitops.KustomizationReport {
	var changes []gitops.ChangeReport
	for i := range 37 {
		changes = append(changes, change("created", "", "ConfigMap", "db", fmt.Sprintf("init-%02d", i+1), ""))
	}
	changes = append(changes,
		change("recreated", "batch", "Job", "db", "migrate", "spec.template is immutable"),
		change("skipped", "", "Secret", "db", "admin", "kustomize.toolkit.fluxcd.io/reconcile: disabled"))
	return kustomization("databases", "ready", 75.2, 2, changes...)
}

func monitoring() gitops.KustomizationReport {
	k := kustomization("monitoring-ingress", "skipped", 0, 0)
	k.Message = "dependency api is not ready"
	return k
}

func suspended() gitops.KustomizationReport {
	k := kustomization("team-a/reports", "suspended", 0, 0)
	k.Message = "in the cluster, by alice: quarter's end"
	return k
}

func api() gitops.KustomizationReport {
	k := kustomization("api", "failed", 2.13, 11,
		change("configured", "", "ConfigMap", "app", "api-flags", ""),
		change("failed", "apps", "Deployment", "app", "api-gateway", "invalid"))
	k.Reason = "ReconciliationFailed"
	const hint = "a name under envFrom belongs into configMapRef or secretKeyRef"
	k.Problems = []gitops.Problem{
		{Code: "unknown-field", File: "apps/api-gateway/deployment.yaml", Line: 31, Object: "deployment.apps/api-gateway in app",
			Message: "spec.template.spec.containers[0].envFrom[1].name is not a field; did you mean env? 27 fields are misplaced like this, the first is CONFIG_API_BASE", Hint: hint},
		{Code: "unknown-field", File: "apps/worker/deployment.yaml", Line: 28, Object: "deployment.apps/worker in app",
			Message: "spec.template.spec.containers[0].envFrom[0].name is not a field", Hint: hint},
		{Code: "immutable-field", File: "apps/api-gateway/job.yaml", Line: 4, Object: "job.batch/migrate in app",
			Message: "spec.template cannot be changed", Hint: "kubectl gitops sync api --force"},
		{Code: "health-timeout", Object: "deployment.apps/api-gateway in app",
			Message: "not ready after 5m0s: 1 of 2 available\npod api-gateway-5d9c: ImagePullBackOff: ghcr.io/example/api-gateway:1.2.3: manifest unknown"},
	}
	return k
}

var hpaWarning = gitops.Warning{Code: "replicas-and-hpa", File: "apps/api-gateway/hpa.yaml", Line: 12, Object: "deployment.apps/api-gateway in app",
	Message: "replicas is fixed at 2 while a HorizontalPodAutoscaler scales this Deployment", Hint: "remove spec.replicas from apps/api-gateway/deployment.yaml"}

func report(result string, ks ...gitops.KustomizationReport) gitops.SyncReport {
	return gitops.SyncReport{
		APIVersion: gitops.APIVersion, Kind: "SyncReport", Revision: "main@sha1:9d22ce7c0ffee0000000000000000000000000ab",
		Cluster: gitops.ClusterReport{Context: "k3s", Server: "https://203.0.113.7:6443"}, Root: "clusters/vps", Result: result,
		Seconds: 81.23456, Requests: gitops.RequestReport{Total: 61, List: 12, Get: 1, Patch: 48}, Kustomizations: ks,
	}
}

// play is a run in which most things happen.
func (p *player) play(t *testing.T) {
	t.Helper()
	p.progress("", "fetching https://git.example.com/fleet")
	p.warning(gitops.Warning{Code: "untracked", File: "apps/notes.txt", Message: "not tracked, so not applied"})
	p.begin(firstLine)
	p.queue("", "infra")
	p.queue("waiting for infra", "apps", "databases", "api", "team-a/reports")
	p.queue("waiting for api", "monitoring-ingress")
	p.progress("infra", "rendering")
	p.wait(time.Second)
	p.progress("infra", "waiting for deployment.apps/traefik in kube-system: 0 of 1 available")
	p.wait(2 * time.Second)
	p.done(infra())
	p.progress("apps", "rendering")
	p.progress("databases", "applying 12 of 41")
	p.progress("api", "waiting for deployment.apps/api-gateway in app: 1 of 2 available; pod api-gateway-5d9c: ImagePullBackOff")
	p.warning(hpaWarning)
	p.warning(hpaWarning)
	p.done(suspended())
	p.wait(4 * time.Second)
	p.done(apps())
	p.wait(7 * time.Second)
	p.progress("databases", "waiting for job.batch/migrate in db")
	p.done(api())
	p.done(monitoring())
	p.wait(61 * time.Second)
	p.done(databases())
	if err := p.ui.Sync(report(gitops.Failed, infra(), suspended(), apps(), api(), monitoring(), databases())); err != nil {
		t.Fatal(err)
	}
	if p.after != nil {
		p.after("answered")
	}
	p.ui.Close()
}

func TestStories(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"plain_80", Options{Width: columnsOf(80)}},
		{"plain_200", Options{Width: columnsOf(200)}},
		{"plain_pipe", Options{}},
		{"plain_40", Options{Width: columnsOf(40)}},
		{"plain_80_color", Options{Width: columnsOf(80), Color: "always"}},
		{"plain_80_ascii", Options{Width: columnsOf(80), Getenv: env("LANG", "C")}},
		{"plain_80_verbose", Options{Width: columnsOf(80), Verbose: 1}},
		{"none_80", Options{Width: columnsOf(80), Progress: "none"}},
		{"dumb_80", Options{Width: columnsOf(80), Progress: "tty", Getenv: env("TERM", "dumb")}},
		{"dryrun_80", Options{Width: columnsOf(80), DryRun: true}},
		{"github_pipe", Options{Getenv: env("GITHUB_ACTIONS", "true")}},
		{"json_80", Options{Width: columnsOf(80), Output: "json"}},
		{"yaml_none", Options{Output: "yaml", Progress: "none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tr transcript
			tt.o.Out, tt.o.Err = tr.stream("1 "), tr.stream("2 ")
			if tt.o.Color == "" {
				tt.o.Color = "never"
			}
			newPlayer(tt.o).play(t)
			golden(t, "story_"+tt.name+".txt", tr.String())
			for _, line := range tr.lines {
				object := tt.o.Output != "" && strings.HasPrefix(line, "1 ")
				if n := tt.o.Width; n != nil && !object && columns(line[2:]) > n() {
					t.Errorf("wider than %d: %s", n(), line)
				}
			}
			if tt.o.Color == "never" && strings.Contains(tr.String(), "\x1b") {
				t.Error("escape codes without a terminal")
			}
		})
	}
}

// The terminal is one for both streams, 16 rows high, and shown after each step.
func TestTerminalStories(t *testing.T) {
	for _, w := range []int{80, 200} {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			screen := newScreen(w, 16)
			p := newPlayer(Options{Out: screen, Err: screen, Progress: "tty", Color: "always", Width: columnsOf(w), height: func() int { return 16 }})
			var b bytes.Buffer
			last := ""
			p.after = func(what string) {
				if now := screen.String(); now != last {
					last = now
					fmt.Fprintf(&b, "=== %s\n%s", what, now)
				}
			}
			p.play(t)
			golden(t, fmt.Sprintf("terminal_%d.txt", w), b.String())
			if screen.wrapped {
				t.Error("a line was wrapped by the terminal")
			}
			if strings.Contains(screen.String(), "►") {
				t.Error("the live region was left behind")
			}
		})
	}
}
