package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// TestProofHoldsOnTheServer makes random objects, lets others change them,
// changes what is declared, and asks: where plan.InSync says that nothing
// would change, does the server say so too? Each case asks about four or five
// declarations; make fuzz does tens of thousands. A failure says what to type to see it again.
//
//	PROOF_CASES=20000   how many
//	PROOF_SEED=N        from which seed; the default is always the same, and with PROOF_CASES a new one
//	PROOF_CASE=N        only this one
func TestProofHoldsOnTheServer(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil {
			return otherwise
		}
		return n
	}
	fresh := 1
	if os.Getenv("PROOF_CASES") != "" {
		fresh = int(time.Now().UnixNano() % 1e9)
	}
	cases, seed := number("PROOF_CASES", 150), number("PROOF_SEED", fresh)
	first := 0
	if only := number("PROOF_CASE", -1); only >= 0 {
		first, cases = only, 1
	}
	t.Logf("PROOF_SEED=%d", seed)
	p := newProver(t)
	// A proof that never proves would pass all that follows.
	for _, kind := range proofKinds {
		if _, err := p.try(proofCase{kind: kind, second: [][]gene{nil}}, true); err != nil {
			t.Fatalf("%s: %v", kind.kind, err)
		}
		if n := p.seen[kind.kind]; n.proved != 1 {
			t.Errorf("%s: a plain one, as it was applied, is not proved to be in sync", kind.kind)
		}
	}
	var wg sync.WaitGroup
	work := make(chan int)
	for range 16 {
		wg.Go(func() {
			for n := range work {
				c := newProofCase(uint64(seed), n)
				broken, err := p.try(c, true)
				if err != nil {
					t.Errorf("case %d: %v", n, err)
				}
				if broken == "" {
					continue
				}
				c, broken = p.shrink(c, broken)
				t.Errorf("PROOF_SEED=%d PROOF_CASE=%d: %s\n%s", seed, n, broken, c)
			}
		})
	}
	for n := range cases {
		if t.Failed() {
			break
		}
		work <- first + n
	}
	close(work)
	wg.Wait()
	for _, kind := range proofKinds {
		n := p.seen[kind.kind]
		t.Logf("%-24s %5d cases: the server would change %5d; of %5d unchanged %5d were proved", kind.kind, n.cases, n.changed, n.unchanged, n.proved)
	}
}

type tally struct{ cases, changed, unchanged, proved int }

// prover runs cases.
type prover struct {
	t      *testing.T
	client dynamic.Interface
	mu     sync.Mutex
	next   int
	seen   map[string]tally
}

const proofSpace = "proof-holds"

func newProver(t *testing.T) *prover {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &prover{t: t, client: client, seen: map[string]tally{}}
	ctx := t.Context()
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": proofSpace}}}
	if _, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Apply(ctx, proofSpace, ns, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(proofCRD), &crd.Object); err != nil {
		t.Fatal(err)
	}
	crds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := crds.Apply(ctx, crd.GetName(), crd, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := client.Resource(proofKinds[len(proofKinds)-1].resource).Namespace(proofSpace).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			break
		}
		if ctx.Err() != nil || !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Cleanup(func() {
		for _, k := range proofKinds {
			_ = client.Resource(k.resource).Namespace(proofSpace).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{})
		}
	})
	return p
}

// try runs one case and returns how it breaks the proof, "" if it does not.
// Steps that the server refuses are left out: they are no state of a cluster.
func (p *prover) try(c proofCase, count bool) (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	p.mu.Lock()
	p.next++
	name := fmt.Sprintf("p%06d", p.next)
	p.mu.Unlock()
	at := p.client.Resource(c.kind.resource).Namespace(proofSpace)
	patch := func(u *unstructured.Unstructured, typ types.PatchType, manager string, dryRun ...string) (*unstructured.Unstructured, error) {
		data, err := json.Marshal(u.Object)
		if err != nil {
			return nil, err
		}
		o := metav1.PatchOptions{FieldManager: manager, DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict}
		if typ == types.ApplyPatchType {
			o.Force = ptr.To(true)
		}
		return at.Patch(ctx, name, typ, data, o)
	}
	live, err := patch(c.desired(name, c.first), types.ApplyPatchType, flux.FieldManager)
	if err != nil {
		return "", refusedOr(err)
	}
	defer func() {
		_ = at.Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	}()
	for _, m := range c.others {
		u := c.fragment(name, m.genes)
		if m.reversed {
			// An update of the whole object, its lists turned round.
			if live, err = at.Get(ctx, name, metav1.GetOptions{}); err != nil {
				return "", err
			}
			u = live.DeepCopy()
			reverse(u.Object["spec"])
			put(u.Object, m.genes)
			live, err = at.Update(ctx, u, metav1.UpdateOptions{FieldManager: m.manager})
		} else {
			live, err = patch(u, m.how, m.manager)
		}
		if err := refusedOr(err); err != nil {
			return "", err
		}
	}
	if live, err = at.Get(ctx, name, metav1.GetOptions{}); err != nil {
		return "", err
	}
	for _, second := range c.second {
		desired := c.desired(name, second)
		var result *unstructured.Unstructured
		for range 10 {
			var refusal error
			result, refusal = patch(desired, types.ApplyPatchType, flux.FieldManager, metav1.DryRunAll)
			now, err := at.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if now.GetResourceVersion() != live.GetResourceVersion() {
				live, result = now, nil // a controller came between
				continue
			}
			if refusal != nil {
				return "", refusedOr(refusal)
			}
			break
		}
		if result == nil {
			continue
		}
		doubt := plan.InSync(desired, live, flux.FieldManager)
		action, why := plan.Decide(live, result)
		if count {
			p.count(c.kind.kind, action, doubt)
		}
		if doubt == "" && action != plan.Unchanged {
			l, _ := json.MarshalIndent(live.Object, "", " ")
			r, _ := json.MarshalIndent(result.Object, "", " ")
			return fmt.Sprintf("proved to be in sync, and the server would change it: %s\nlive: %s\nresult: %s", why, l, r), nil
		}
	}
	return "", nil
}

func (p *prover) count(kind string, action plan.Action, doubt plan.Doubt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.seen[kind]
	n.cases++
	if action == plan.Unchanged {
		n.unchanged++
	} else {
		n.changed++
	}
	if doubt == "" {
		n.proved++
	}
	p.seen[kind] = n
}

// refusedOr is err, unless it is the server's refusal of what was sent.
func refusedOr(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsConflict(err) || status.Status().Code == 500) {
		return nil
	}
	return err
}

// shrink takes away what is not needed for c to break.
func (p *prover) shrink(c proofCase, broken string) (proofCase, string) {
	for again := true; again; {
		again = false
		for _, smaller := range c.smaller() {
			if b, err := p.try(smaller, false); err == nil && b != "" {
				c, broken, again = smaller, b, true
				break
			}
		}
	}
	return c, broken
}

// gene is one field of an object: a value to put at a path.
type gene struct {
	path  string // dotted; names in it have no dots
	value any
}

// mutation is what another manager does to the live object.
type mutation struct {
	manager  string
	how      types.PatchType
	genes    []gene
	reversed bool
}

type proofCase struct {
	kind   proofKind
	first  []gene     // what was declared when it was applied
	others []mutation // what happened since
	second [][]gene   // what is declared now: several, one after the other
}

func newProofCase(seed uint64, n int) proofCase {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	c := proofCase{kind: proofKinds[r.IntN(len(proofKinds))]}
	pick := func(few int) (out []gene) {
		for range r.IntN(few) + 1 {
			g := c.kind.genes[r.IntN(len(c.kind.genes))]
			out = append(out, gene{g.path, g.values[r.IntN(len(g.values))]})
		}
		return out
	}
	c.first = pick(8)
	for range r.IntN(3) {
		m := mutation{manager: []string{"somebody", "operator", "an-hpa"}[r.IntN(3)], genes: pick(2)}
		switch r.IntN(4) {
		case 0:
			m.how = types.ApplyPatchType
		case 1, 2:
			m.how = types.MergePatchType
		case 3:
			m.reversed = true
		}
		c.others = append(c.others, m)
	}
	c.second = append(c.second, c.first)
	for range 3 {
		next := slices.Clone(c.first)
		if r.IntN(3) > 0 {
			next = append(next, pick(2)...)
		}
		if r.IntN(3) == 0 {
			i := r.IntN(len(next))
			next = slices.Delete(next, i, i+1)
		}
		c.second = append(c.second, next)
	}
	return c
}

func (c proofCase) smaller() (out []proofCase) {
	for i := range c.second {
		if len(c.second) > 1 {
			s := c
			s.second = [][]gene{c.second[i]}
			out = append(out, s)
		}
	}
	for i := range c.others {
		s := c
		s.others = slices.Delete(slices.Clone(c.others), i, i+1)
		out = append(out, s)
	}
	for i := range c.first {
		s := c
		s.first = slices.Delete(slices.Clone(c.first), i, i+1)
		out = append(out, s)
	}
	if len(c.second) == 1 {
		for i := range c.second[0] {
			s := c
			s.second = [][]gene{slices.Delete(slices.Clone(c.second[0]), i, i+1)}
			out = append(out, s)
		}
	}
	return out
}

func (c proofCase) String() string {
	var b strings.Builder
	text := func(v any) string { data, _ := json.Marshal(v); return string(data) }
	fmt.Fprintf(&b, "applied: %s\n", text(c.desired("x", c.first).Object))
	for _, m := range c.others {
		fmt.Fprintf(&b, "%s, %s reversed=%v: %s\n", m.manager, m.how, m.reversed, text(c.fragment("x", m.genes).Object))
	}
	for _, s := range c.second {
		fmt.Fprintf(&b, "declared: %s\n", text(c.desired("x", s).Object))
	}
	return b.String()
}

// desired is the object as a run would send it.
func (c proofCase) desired(name string, genes []gene) *unstructured.Unstructured {
	u := c.fragment(name, nil)
	var base map[string]any
	if err := json.Unmarshal([]byte(c.kind.base), &base); err != nil {
		panic(err)
	}
	for k, v := range base {
		u.Object[k] = v
	}
	put(u.Object, genes)
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[flux.OwnerNameLabel], labels[flux.OwnerNamespaceLabel] = "apps", "flux-system"
	u.SetLabels(labels)
	data, err := json.Marshal(u.Object) // numbers as they are after decoding
	if err == nil {
		u = &unstructured.Unstructured{}
		err = u.UnmarshalJSON(data)
	}
	if err != nil {
		panic(err)
	}
	object.Normalize(u)
	return u
}

func (c proofCase) fragment(name string, genes []gene) *unstructured.Unstructured {
	gv := c.kind.resource.GroupVersion().String()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": gv, "kind": c.kind.kind, "metadata": map[string]any{"name": name, "namespace": proofSpace}}}
	put(u.Object, genes)
	return u
}

func put(m map[string]any, genes []gene) {
	for _, g := range genes {
		at := m
		path := strings.Split(g.path, ".")
		for _, p := range path[:len(path)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		var v any
		if s, ok := g.value.(string); ok && json.Unmarshal([]byte(s), &v) == nil {
			at[path[len(path)-1]] = v
		}
	}
}

func reverse(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			reverse(e)
		}
	case []any:
		slices.Reverse(v)
		for _, e := range v {
			reverse(e)
		}
	}
}
