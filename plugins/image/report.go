package image

import (
	"encoding/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// Report is the answer of every image command for scripts. Names and their
// order are a promise.
type Report struct {
	APIVersion   string                `json:"apiVersion"`
	Kind         string                `json:"kind"` // ImageReport
	Revision     string                `json:"revision,omitempty"`
	Cluster      *gitops.ClusterReport `json:"cluster,omitempty"` // where the objects are read from a cluster
	Warnings     []gitops.Warning      `json:"warnings"`
	Repositories []RepositoryReport    `json:"repositories,omitempty"` // list
	Policies     []PolicyReport        `json:"policies,omitempty"`     // policy, eval, update
	Automations  []AutomationReport    `json:"automations,omitempty"`  // update, and what follows
	Edits        []EditReport          `json:"edits,omitempty"`
	Commit       *CommitReport         `json:"commit,omitempty"`  // the first
	Commits      []CommitReport        `json:"commits,omitempty"` // all, where there are several
	Sync         json.RawMessage       `json:"sync,omitempty"`    // with --sync: the SyncReport
}

// AutomationReport is what became of one ImageUpdateAutomation.
type AutomationReport struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	File      string           `json:"file"`
	Line      int              `json:"line"`
	Status    string           `json:"status"`           // updated, unchanged, suspended, failed
	Branch    string           `json:"branch,omitempty"` // that it pushes to
	Message   string           `json:"message,omitempty"`
	Problems  []gitops.Problem `json:"problems,omitempty"`
}

// EditReport is one value that was written. Several automations may write the same
// one, each to a branch or a repository of its own.
type EditReport struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	Policy     string `json:"policy"` // NAMESPACE/NAME
	Old        string `json:"old"`
	New        string `json:"new"`
	Automation string `json:"automation"` // NAMESPACE/NAME, whose commit it is in
	Branch     string `json:"branch"`     // of that commit
}

// CommitReport is one commit. An automation makes at most one.
type CommitReport struct {
	SHA         string `json:"sha"`
	Branch      string `json:"branch"`
	Automation  string `json:"automation"` // NAMESPACE/NAME
	Pushed      bool   `json:"pushed"`
	Message     string `json:"message"`
	PullRequest string `json:"pullRequest,omitempty"` // the address that the server named
}

// RepositoryReport is what a registry has of one ImageRepository.
type RepositoryReport struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	File      string           `json:"file"`
	Line      int              `json:"line"`
	Image     string           `json:"image"`
	TagCount  int              `json:"tagCount"` // without those excluded, as Flux counts
	Excluded  int              `json:"excluded"`
	Suspended bool             `json:"suspended,omitempty"` // so the registry was not asked
	Latest    []string         `json:"latestTags"`          // the first ten from Z to A, as Flux has them
	Tags      []string         `json:"tags,omitempty"`      // with --tags: all of them from A to Z
	Message   string           `json:"message,omitempty"`
	Problems  []gitops.Problem `json:"problems,omitempty"`
}

// PolicyReport is what one ImagePolicy chooses.
type PolicyReport struct {
	Namespace  string           `json:"namespace"`
	Name       string           `json:"name"`
	File       string           `json:"file"`
	Line       int              `json:"line"`
	Repository string           `json:"repository"`          // NAMESPACE/NAME of the ImageRepository
	Suspended  bool             `json:"suspended,omitempty"` // the policy or its repository: nothing is chosen
	Tag        string           `json:"tag"`                 // "" where none was chosen
	Digest     string           `json:"digest"`              // where the policy reflects it
	Image      string           `json:"image"`               // name:tag[@digest], "" where none was chosen or the name is not known
	Previous   string           `json:"previous,omitempty"`  // what stands at the first marker now, or status.latestRef of the cluster's
	Reason     string           `json:"reason,omitempty"`    // why this tag
	Message    string           `json:"message,omitempty"`   // why none
	Problems   []gitops.Problem `json:"problems,omitempty"`
	Tags       []TagReport      `json:"tags,omitempty"` // with --explain: every tag
}

// TagReport is what became of one tag: excluded, not-matched, shadowed,
// not-a-version, out-of-range, not-a-number, unranked, ranked, chosen.
type TagReport struct {
	Tag       string `json:"tag"`
	Outcome   string `json:"outcome"`
	Extracted string `json:"extracted,omitempty"`
	Rank      int    `json:"rank,omitempty"`
	Reason    string `json:"reason"`
}

func newReport() Report {
	return Report{APIVersion: gitops.APIVersion, Kind: "ImageReport", Warnings: []gitops.Warning{}}
}

func tagReports(c image.Choice) []TagReport {
	out := make([]TagReport, 0, len(c.Verdicts))
	for _, v := range c.Verdicts {
		out = append(out, TagReport{Tag: v.Tag, Outcome: string(v.Outcome), Extracted: v.Extracted, Rank: v.Rank, Reason: v.Reason()})
	}
	return out
}

// problemReports are problems for scripts, and their first message.
func problemReports(problems []*image.Problem) (out []gitops.Problem, message string) {
	for _, p := range problems {
		out = append(out, gitops.Problem{Code: p.Code, File: p.File, Line: p.Line, Object: p.Object, Message: p.Message, Hint: p.Hint})
	}
	if len(problems) > 0 {
		message = problems[0].Message
	}
	return out, message
}
