package gitops

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// staysSealed reports whether o asks not to be opened.
func staysSealed(o *unstructured.Unstructured) bool {
	return strings.EqualFold(o.GetAnnotations()[flux.DecryptKey], "disabled")
}

// openData opens what is sealed inside of the values of p's Secrets: a whole
// SOPS file in base64, which Flux opens after the build. The name of the entry
// tells its format.
func (e *Engine) openData(p *Planned, keys *secret.Keyring) []Problem {
	if p.Spec.Decryption == nil {
		return nil
	}
	var out []Problem
	for _, o := range p.objects {
		if !object.IsSecret(o.GroupVersionKind().GroupKind()) || staysSealed(o.Unstructured) {
			continue
		}
		data, _ := o.Object["data"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(data)) {
			text, _ := data[name].(string)
			sealed, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				continue // the server says it better
			}
			file := name
			if name == ".dockerconfigjson" {
				file = "dockerconfig.json"
			}
			plain, _, err := keys.Decrypt(file, sealed, secret.DecryptOptions{IgnoreMAC: e.Options.IgnoreMAC})
			if errors.Is(err, secret.ErrNotSealed) {
				continue
			}
			if err != nil {
				q, keep := e.sealedEntry(p, o, name, err)
				if !keep {
					out = append(out, q)
					continue
				}
				if p.closed == nil {
					p.closed = map[object.ID]bool{}
				}
				p.closed[o.ID()] = true
				continue
			}
			data[name] = base64.StdEncoding.EncodeToString(plain)
		}
	}
	return out
}

// sealedEntry is the problem of an entry that does not open; keep says that it
// may stay as it is.
func (e *Engine) sealedEntry(p *Planned, o object.Object, name string, err error) (q Problem, keep bool) {
	q = Problem{Code: "sealed-bad-metadata", File: o.File, Line: o.Line, Object: o.ID().String(), Message: fmt.Sprintf("data.%s: %s", name, err)}
	var sealed secret.Problem
	if errors.As(err, &sealed) {
		q.Code, q.Message, q.Hint = sealedCode(sealed), fmt.Sprintf("data.%s: %s", name, sealed.Err), sealed.Hint
		// What a generator made is named after what it holds.
		_, manifest := p.rendered.Document(o)
		keep = e.mayStaySealed(sealed) && (manifest || e.Cluster == nil)
	}
	return q, keep
}

func sealedCode(s secret.Problem) string {
	return "sealed-" + strings.ReplaceAll(string(s.Kind), " ", "-")
}

// mayStaySealed reports whether a file that no key at hand opens is shown as it
// is, rather than refused.
func (e *Engine) mayStaySealed(s secret.Problem) bool {
	return e.Options.KeepSealed && (s.Kind == secret.NoKey || s.Kind == secret.WrongKey)
}
