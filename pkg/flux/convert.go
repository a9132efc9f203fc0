package flux

import (
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Convert writes u, an object of Flux's groups, in another version of its API.
// All versions have the fields of v1, and the beta versions of a Kustomization
// some more, which v1 has in another form: patchesStrategicMerge and
// patchesJson6902 become patches, validation meant nothing, and a healthCheck
// without an apiVersion was one of apps/v1.
func Convert(u *unstructured.Unstructured, version string) {
	gvk := u.GroupVersionKind()
	u.SetAPIVersion(gvk.Group + "/" + version)
	spec, ok := u.Object["spec"].(map[string]any)
	if !ok || !IsKustomization(gvk.GroupKind()) || version != "v1" {
		return
	}
	delete(spec, "validation")
	patches, _ := spec["patches"].([]any)
	merges, _ := spec["patchesStrategicMerge"].([]any)
	for _, m := range merges {
		if text, err := yaml.Marshal(m); err == nil {
			patches = append(patches, map[string]any{"patch": string(text)})
		}
	}
	jsons, _ := spec["patchesJson6902"].([]any)
	for _, j := range jsons {
		j, _ := j.(map[string]any)
		text, err := json.Marshal(j["patch"])
		if err != nil || j["target"] == nil {
			continue
		}
		patches = append(patches, map[string]any{"patch": string(text), "target": j["target"]})
	}
	delete(spec, "patchesStrategicMerge")
	delete(spec, "patchesJson6902")
	if len(patches) > 0 {
		spec["patches"] = patches
	}
	checks, _ := spec["healthChecks"].([]any)
	for _, c := range checks {
		if c, ok := c.(map[string]any); ok && (c["apiVersion"] == nil || c["apiVersion"] == "") {
			c["apiVersion"] = defaultHealthCheck
		}
	}
}

// Served chooses, of the versions that a cluster serves of a kind of Flux's, the
// one to write an object of version in: that one, v1, or the first.
func Served(version string, served []string) string {
	for _, v := range []string{version, "v1"} {
		if slices.Contains(served, v) {
			return v
		}
	}
	return served[0]
}
