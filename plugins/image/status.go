package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/adler32"
	"maps"
	"slices"
	"strings"
	"time"

	autov1 "github.com/fluxcd/image-automation-controller/api/v1"
	imagev1 "github.com/fluxcd/image-reflector-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// failure is what a controller of Flux would say of what failed. Stalled is what
// no retry mends.
type failure struct {
	reason, message string
	stalled         bool
}

func (f failure) ready() metav1.Condition {
	return metav1.Condition{Status: metav1.ConditionFalse, Reason: f.reason, Message: f.message}
}

// automationFailure is that of image-automation-controller.
func automationFailure(p *image.Problem) failure {
	f := failure{reason: autov1.GitOperationFailedReason, message: p.Message}
	switch {
	case p.Field == "spec.update.strategy":
		f.reason, f.stalled = autov1.InvalidUpdateStrategyReason, true
	case p.Field == "spec.policySelector":
		f.reason, f.stalled = autov1.InvalidPolicySelectorReason, true
	case p.Field == "spec.sourceRef.kind":
		f.reason, f.stalled = autov1.InvalidSourceConfigReason, true
	case p.Code == "image-source" || p.Code == "image-signing" || strings.HasPrefix(p.Field, "spec.git.commit.signingKey"):
		f.reason = autov1.SourceManagerFailedReason
	case p.Field == "spec.update.path":
		f.reason = autov1.UpdateFailedReason
	}
	return f
}

// policyFailure is that of image-reflector-controller. ok is false where it would
// go on with what it has chosen before.
func policyFailure(d decision, before bool) (f failure, ok bool) {
	p := d.problems[0]
	f = failure{reason: metav1.StatusFailure, message: p.Message}
	switch p.Code {
	case "image-policy", "image-regex", "image-extract", "image-order":
		f.reason, f.stalled = "InvalidPolicy", true
	case "image-registry": // of a digest
		f.reason = meta.FailedReason
	}
	switch {
	case len(d.unlisted) > 0 && p.Code == "image-repository":
		f.reason, f.stalled = imagev1.ImageURLInvalidReason, true
	case len(d.unlisted) > 0 && before:
		return f, false
	case len(d.unlisted) > 0:
		f.reason, f.message, f.stalled = imagev1.DependencyNotReadyReason, d.repository.String()+": "+p.Message, false
	case p.Code == "image-repository":
		f.reason = imagev1.DependencyNotReadyReason
	}
	return f, true
}

// repositoryFailure is that of image-reflector-controller.
func repositoryFailure(p *image.Problem) failure {
	f := failure{reason: imagev1.ReadOperationFailedReason, message: "scan failed: " + p.Message}
	switch p.Code {
	case "image-repository":
		f = failure{imagev1.ImageURLInvalidReason, p.Message, true}
	case "image-credentials":
		f.reason, f.message = imagev1.AuthenticationFailedReason, p.Message
	}
	return f
}

// record writes what was done into the status of Flux's objects, as its
// controllers would have. What cannot be written there is a warning: it is done.
func (u *update) record(ctx context.Context, began time.Time) {
	if u.live == nil || u.o.dryRun || u.o.noPush || u.o.repair {
		return
	}
	if ctx.Err() != nil { // what was pushed is told all the same
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
	}
	set := func(o *unstructured.Unstructured, controller string, fields map[string]any, ready metav1.Condition, stalled bool) {
		if err := u.live.SetStatus(ctx, o, controller, fields, ready, stalled); err != nil {
			p := image.Problem{Code: "image-status", Message: "the status is not written: " + err.Error()}
			if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
				p.Hint = refused.Fix
			}
			u.warn(p)
		}
	}
	for _, a := range u.ran {
		if o := u.live.objects[image.AutomationKind][a.Ref]; o != nil {
			fields, ready := u.automationStatus(a, began)
			set(o, automationController, fields, ready, a.failed.stalled)
		}
	}
	if u.live.reflector {
		return
	}
	scanned := map[image.Ref]bool{}
	for _, d := range u.chosen {
		if o := u.live.objects[image.PolicyKind][d.policy.Ref]; o != nil && d.suspended == "" {
			switch f, tell := d.failure(o); {
			case d.image.Tag != "" && d.repository.Name != "":
				fields, ready := policyStatus(o, d)
				set(o, reflectorController, fields, ready, false)
			case tell:
				set(o, reflectorController, map[string]any{}, f.ready(), f.stalled)
			}
		}
		o := u.live.objects[image.RepositoryKind][d.repository.Ref]
		if o == nil || scanned[d.repository.Ref] {
			continue
		}
		scanned[d.repository.Ref] = true
		if len(d.unlisted) > 0 {
			f := repositoryFailure(d.unlisted[0])
			set(o, reflectorController, map[string]any{}, f.ready(), f.stalled)
		} else if d.tags != nil {
			fields, ready := repositoryStatus(d, began)
			set(o, reflectorController, fields, ready, false)
		}
	}
}

// failure is why a policy chose nothing; tell is false where its status stays.
func (d decision) failure(o *unstructured.Unstructured) (f failure, tell bool) {
	if len(d.problems) == 0 {
		return f, false
	}
	_, before, _ := unstructured.NestedMap(o.Object, "status", "latestRef")
	return policyFailure(d, before)
}

// automationStatus is what an automation has done.
func (u *update) automationStatus(a *automation, began time.Time) (map[string]any, metav1.Condition) {
	fields := map[string]any{"lastAutomationRunTime": began.UTC().Format(time.RFC3339)}
	if a.failed.reason != "" {
		return fields, a.failed.ready()
	}
	fields["observedSourceRevision"] = a.revision
	policies := map[string]any{}
	for _, p := range u.tree.Policies { // also those without a marker, as Flux has them
		if o := u.live.objects[image.PolicyKind][p.Ref]; o != nil && a.Takes(p) {
			if before, ok, _ := unstructured.NestedMap(o.Object, "status", "latestRef"); ok {
				policies[p.Name] = before
			}
		}
	}
	for ref, i := range u.choices(a) {
		policies[ref.Name] = latest(i)
	}
	fields["observedPolicies"] = policies
	if a.pushed != "" {
		fields["lastPushCommit"], fields["lastPushTime"] = a.pushed, time.Now().UTC().Format(time.RFC3339)
	}
	return fields, metav1.Condition{Status: metav1.ConditionTrue, Reason: meta.SucceededReason, Message: "repository up-to-date"}
}

func latest(i image.Image) map[string]any {
	out := map[string]any{"name": i.Name, "tag": i.Tag}
	if i.Digest != "" {
		out["digest"] = i.Digest
	}
	return out
}

// policyStatus is what a policy has chosen, and what before.
func policyStatus(o *unstructured.Unstructured, d decision) (map[string]any, metav1.Condition) {
	now := latest(d.image)
	fields := map[string]any{"latestRef": now}
	message := fmt.Sprintf("Latest image tag for %s resolved to %s", d.image.Name, d.image.Tag)
	if d.image.Digest != "" {
		message += " with digest " + d.image.Digest
	}
	before, had, _ := unstructured.NestedMap(o.Object, "status", "latestRef")
	previous, _, _ := unstructured.NestedMap(o.Object, "status", "observedPreviousRef")
	if had && !maps.Equal(before, now) {
		previous = before
		fields["observedPreviousRef"] = before
	}
	text := func(ref map[string]any) string {
		s := fmt.Sprintf("%v:%v", ref["name"], ref["tag"])
		if digest := ref["digest"]; digest != nil {
			s += fmt.Sprintf("@%v", digest)
		}
		return s
	}
	if previous != nil && !maps.Equal(previous, now) {
		message += " (previously " + text(previous) + ")"
	}
	// Flux up to 2.6 had the image as one text, too.
	if version := o.GetAPIVersion(); strings.HasSuffix(version, "/v1beta1") || strings.HasSuffix(version, "/v1beta2") {
		fields["latestImage"] = text(now)
		if old, _, _ := unstructured.NestedString(o.Object, "status", "latestImage"); old != "" && old != text(now) && strings.HasSuffix(version, "/v1beta2") {
			fields["observedPreviousImage"] = old
		}
	}
	return fields, metav1.Condition{Status: metav1.ConditionTrue, Reason: meta.SucceededReason, Message: message}
}

// repositoryStatus is what a registry has. The revision is the sum that Flux
// makes of the tags, from Z to A.
func repositoryStatus(d decision, began time.Time) (map[string]any, metav1.Condition) {
	tags := d.repository.Included(d.tags)
	slices.SortFunc(tags, func(a, b string) int { return strings.Compare(b, a) })
	text, _ := json.Marshal(tags) // strings
	revision := fmt.Sprint(adler32.Checksum(text))
	return map[string]any{
		"canonicalImageName":    d.registry.Canonical(),
		"observedExclusionList": d.repository.Exclusions(),
		"lastScanResult": map[string]any{"revision": revision, "tagCount": len(tags), "scanTime": began.UTC().Format(time.RFC3339),
			"latestTags": tags[:min(10, len(tags))]},
	}, metav1.Condition{Status: metav1.ConditionTrue, Reason: meta.SucceededReason, Message: fmt.Sprintf("successful scan: found %d tags with checksum %s", len(tags), revision)}
}
