package gitops

// APIVersion of every report. Names and their order are a promise to scripts.
const APIVersion = "kubectl-gitops.dev/v1alpha1"

// SyncReport is the answer of a sync, complete or partial.
type SyncReport struct {
	APIVersion       string                `json:"apiVersion"`
	Kind             string                `json:"kind"` // SyncReport
	Revision         string                `json:"revision"`
	PreviousRevision string                `json:"previousRevision,omitempty"`
	Cluster          ClusterReport         `json:"cluster"`
	Root             string                `json:"root"`   // entry path in the source
	Result           string                `json:"result"` // succeeded | failed | interrupted
	DryRun           bool                  `json:"dryRun,omitempty"`
	Seconds          float64               `json:"seconds"`
	Requests         RequestReport         `json:"requests"`
	Warnings         []Warning             `json:"warnings"`
	Kustomizations   []KustomizationReport `json:"kustomizations"`
}

// Results of a run.
const (
	Succeeded   = "succeeded"
	Failed      = "failed"
	Interrupted = "interrupted"
)

// ClusterReport names the cluster.
type ClusterReport struct {
	Context string `json:"context"`
	Server  string `json:"server"` // URL
}

// RequestReport counts requests to the API server by verb.
type RequestReport struct {
	Total  int64 `json:"total"`
	Get    int64 `json:"get"`
	List   int64 `json:"list"`
	Watch  int64 `json:"watch"`
	Patch  int64 `json:"patch"`
	Create int64 `json:"create"`
	Update int64 `json:"update"`
	Delete int64 `json:"delete"`
}

// Warning is something suspicious that did not stop the run.
type Warning struct {
	Code    string `json:"code"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Object  string `json:"object,omitempty"`
	Message string `json:"message"`
	// Detail is what else is known of it, lines apart: conditions, events, the
	// last lines of a log.
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Problem is one reason why a Kustomization failed, with the same fields. A
// Kustomization can have many: all that is wrong is said at once.
type Problem Warning

// KustomizationReport is what became of one Kustomization.
type KustomizationReport struct {
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	Path      string  `json:"path"`
	Revision  string  `json:"revision,omitempty"`
	Status    string  `json:"status"`           // ready | failed | skipped | suspended
	Reason    string  `json:"reason,omitempty"` // Flux's: ReconciliationSucceeded, BuildFailed…
	Message   string  `json:"message,omitempty"`
	Seconds   float64 `json:"seconds"`
	// Written counts changes by their action; Objects is all that is declared.
	Written  WrittenReport  `json:"written"`
	Changes  []ChangeReport `json:"changes"`
	Problems []Problem      `json:"problems,omitempty"`
}

// Statuses of a Kustomization.
const (
	StatusReady     = "ready"
	StatusFailed    = "failed"
	StatusSkipped   = "skipped"
	StatusSuspended = "suspended"
)

// WrittenReport counts the objects of a Kustomization by what was done to them.
type WrittenReport struct {
	Objects    int `json:"objects"`
	Created    int `json:"created"`
	Configured int `json:"configured"`
	Recreated  int `json:"recreated"`
	Unchanged  int `json:"unchanged"`
	Deleted    int `json:"deleted"`
	Skipped    int `json:"skipped"`
	Failed     int `json:"failed"`
}

// Add counts one change.
func (w *WrittenReport) Add(action string) {
	switch action {
	case "created":
		w.Created++
	case "configured":
		w.Configured++
	case "recreated":
		w.Recreated++
	case "unchanged":
		w.Unchanged++
	case "deleted":
		w.Deleted++
	case "skipped":
		w.Skipped++
	case "failed":
		w.Failed++
	}
}

// ChangeReport is what was done to one object: created, configured, recreated,
// unchanged, deleted, skipped or failed.
type ChangeReport struct {
	Group     string `json:"group"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    string `json:"action"`
	Message   string `json:"message,omitempty"`
}
