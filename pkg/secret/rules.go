package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
)

// KubernetesRegex is what is sealed of a Kubernetes manifest where no rule says
// more: what Flux needs to see stays in clear.
const KubernetesRegex = "^(data|stringData)$"

// Rules finds the creation rule for a file, as sops does.
type Rules struct {
	// Dir is where the search for .sops.yaml begins: the current directory, as
	// for sops, then the directory of the file.
	Dir string
	// Config is the file to use instead, SOPS_CONFIG; "" searches.
	Config string
	// Age are recipients that stand in the place of those of the rule, as
	// sops's --age and SOPS_AGE_RECIPIENTS do.
	Age []string

	cache *ruleCache
}

// Rule is how a file is to be sealed.
type Rule struct {
	// Config is the .sops.yaml that it comes from, "" if there is none.
	Config string
	// Recipients are those of all key groups, as in Sealed.
	Recipients []string

	groups    []sops.KeyGroup
	threshold int
	meta      sops.Metadata // what to seal of a file, and nothing else
	indent    int           // of YAML, 0 for sops's own
	exact     bool          // meta is all that is to be said, also where it says nothing
}

// says tells whether the rule says what of a file is to be sealed.
func (r Rule) says() bool {
	m := r.meta
	return r.exact || m.UnencryptedSuffix != "" || m.EncryptedSuffix != "" || m.UnencryptedRegex != "" || m.EncryptedRegex != "" ||
		m.UnencryptedCommentRegex != "" || m.EncryptedCommentRegex != ""
}

// ErrNoRule is what For returns where neither a rule nor Age names a recipient.
var ErrNoRule = errors.New("no rule says to whom it is to be sealed")

// Cached is these rules for a run over many files: what was read of a .sops.yaml
// is not read again. Safe for concurrent use.
func (r Rules) Cached() Rules {
	r.cache = &ruleCache{near: make(map[string]string), files: make(map[string]*ruleFile), rules: make(map[ruleID]Rule)}
	return r
}

// For is the rule for a file.
func (r Rules) For(path string) (Rule, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Rule{}, err
	}
	conf, err := r.configFor(abs)
	if err != nil {
		return Rule{}, err
	}
	if r.cache == nil || conf == "" {
		return r.read(conf, abs)
	}
	id := ruleID{conf, r.cache.file(conf).index(abs)}
	if rule, ok := r.cache.rule(id); ok {
		return rule, nil
	}
	rule, err := r.read(conf, abs)
	if err == nil && id.index >= 0 {
		r.cache.mu.Lock()
		defer r.cache.mu.Unlock()
		r.cache.rules[id] = rule
	}
	return rule, err
}

// configFor is the .sops.yaml for a file, absolute, "" if there is none.
func (r Rules) configFor(abs string) (string, error) {
	conf := r.Config
	for _, start := range []string{r.Dir, filepath.Dir(abs)} {
		if conf == "" {
			conf = r.cache.nearest(start)
		}
	}
	if conf == "" {
		return "", nil
	}
	return filepath.Abs(conf)
}

// read is the rule for a file, by a .sops.yaml if there is one.
func (r Rules) read(conf, abs string) (out Rule, err error) {
	if conf != "" {
		out.Config = conf
		rule, err := loadRule(conf, abs)
		if err != nil && !(errors.Is(err, ErrNoRule) && len(r.Age) > 0) {
			return Rule{}, err
		}
		if stores, err := config.LoadStoresConfig(conf); err == nil {
			out.indent = stores.YAML.Indent
		}
		if rule != nil {
			out.groups, out.threshold = rule.KeyGroups, rule.ShamirThreshold
			out.meta = sops.Metadata{
				UnencryptedSuffix: rule.UnencryptedSuffix, EncryptedSuffix: rule.EncryptedSuffix,
				UnencryptedRegex: rule.UnencryptedRegex, EncryptedRegex: rule.EncryptedRegex,
				UnencryptedCommentRegex: rule.UnencryptedCommentRegex, EncryptedCommentRegex: rule.EncryptedCommentRegex,
				MACOnlyEncrypted: rule.MACOnlyEncrypted,
			}
		}
	}
	if len(r.Age) > 0 {
		var group sops.KeyGroup
		for _, recipient := range r.Age {
			key, err := age.MasterKeyFromRecipient(strings.TrimSpace(recipient))
			if err != nil {
				return Rule{}, fmt.Errorf("%s is not an age recipient (age1… or an SSH public key)", list([]string{recipient}))
			}
			group = append(group, key)
		}
		out.groups, out.threshold = []sops.KeyGroup{group}, 0
	}
	out.Recipients = recipients(out.groups)
	if len(out.Recipients) == 0 {
		return Rule{}, ErrNoRule
	}
	for _, expr := range []string{out.meta.EncryptedRegex, out.meta.UnencryptedRegex, out.meta.EncryptedCommentRegex, out.meta.UnencryptedCommentRegex} {
		// sops takes an expression that does not compile for one that matches nothing.
		if _, err := regexp.Compile(expr); err != nil {
			return Rule{}, fmt.Errorf("%s: the rule for %s has an expression that does not compile: %s", out.Config, abs, err)
		}
	}
	return out, nil
}

// RuleOf is how a sealed file is sealed, whatever the rules say today: to whom,
// and what of it. The error is a Problem, or wraps ErrNotSealed.
func RuleOf(name string, data []byte) (Rule, error) {
	segs, err := detect(name, data)
	if err == nil && len(segs) == 0 {
		return Rule{}, fmt.Errorf("%s: %w", name, ErrNotSealed)
	}
	f := Sealed{Path: name}
	if err == nil && len(segs) != 1 {
		err = errSealedApart
	}
	var trees []sops.Tree
	if err == nil {
		trees, err = load(&f, segs)
	}
	if err != nil {
		return Rule{}, problem(f, err)
	}
	return ruleOf(&f, segs[0], trees[0].Metadata), nil
}

// ruleOf is how a loaded file is sealed.
func ruleOf(f *Sealed, seg segment, m sops.Metadata) Rule {
	return Rule{
		Recipients: f.Recipients,
		groups:     m.KeyGroups,
		threshold:  m.ShamirThreshold,
		meta: sops.Metadata{
			UnencryptedSuffix: m.UnencryptedSuffix, EncryptedSuffix: m.EncryptedSuffix,
			UnencryptedRegex: m.UnencryptedRegex, EncryptedRegex: m.EncryptedRegex,
			UnencryptedCommentRegex: m.UnencryptedCommentRegex, EncryptedCommentRegex: m.EncryptedCommentRegex,
			MACOnlyEncrypted: m.MACOnlyEncrypted,
		},
		indent: metadataIndent(seg.docs),
		exact:  true,
	}
}

// loadRule reads one rule. sops panics on some of what people write there.
func loadRule(conf, path string) (rule *config.Config, err error) {
	defer func() {
		if recover() != nil {
			rule, err = nil, fmt.Errorf("%s: is malformed in a way that SOPS cannot bear", conf)
		}
	}()
	rule, err = config.LoadCreationRuleForFile(conf, path, make(map[string]*string))
	switch {
	case err != nil && strings.Contains(err.Error(), "no matching creation rules found"):
		var exprs []string
		for _, r := range readRuleFile(conf).rules {
			exprs = append(exprs, r.text)
		}
		return nil, fmt.Errorf("%s: %w: no creation rule matches, of %s", conf, ErrNoRule, strings.Join(exprs, ", "))
	case err != nil:
		return nil, fmt.Errorf("%s: %s", conf, oneLine(strings.TrimPrefix(err.Error(), "error loading config: ")))
	case rule == nil:
		return nil, fmt.Errorf("%s: %w: it has no creation rule", conf, ErrNoRule)
	}
	return rule, nil
}

// Repository is the directory of the Git repository around a directory, "" if
// there is none.
func Repository(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// sameReaders tells whether two sets of key groups have the same recipients,
// group by group.
func sameReaders(a, b []sops.KeyGroup) bool {
	return slices.EqualFunc(a, b, func(x, y sops.KeyGroup) bool {
		rx, ry := recipients([]sops.KeyGroup{x}), recipients([]sops.KeyGroup{y})
		slices.Sort(rx)
		slices.Sort(ry)
		return slices.EqualFunc(rx, ry, sameRecipient)
	})
}
