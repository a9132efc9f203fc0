package plugins

import (
	"fmt"
	"strings"
)

// target is one line of what is to be reached: ratios within one run, and counts.
type target struct {
	what string
	most float64 // the figure must be no more; where atLeast is set, no less
	unit string
	// figure is what was measured; ok is false where something of it was not.
	figure  func(t *table) (f float64, ok bool)
	atLeast bool
	// why says what keeps it from being reached, and what would; shown where it is not.
	why string
}

const (
	times    = " ×"
	requests = " requests"
	seconds  = " s"
)

// of is the ratio of what was measured of two things, by a field of theirs.
func of(field func(measure) float64, objects, what, others string, than ...string) func(*table) (float64, bool) {
	return func(t *table) (float64, bool) {
		a, ok := t.find(objects, what)
		sum := 0.0
		for _, w := range than {
			m, found := t.find(others, w)
			sum, ok = sum+field(m), ok && found
		}
		return field(a) / sum, ok && sum > 0
	}
}

// single is a field of what was measured.
func single(field func(measure) float64, objects, what string) func(*table) (float64, bool) {
	return func(t *table) (float64, bool) {
		m, ok := t.find(objects, what)
		return field(m), ok
	}
}

func inSeconds(m measure) float64  { return m.seconds }
func inRequests(m measure) float64 { return float64(m.requests.Total) }
func inLists(m measure) float64    { return float64(m.requests.List) }

// targets are what was asked for. A ratio "faster than" is the other's seconds over ours.
var targets = []target{
	{
		what: "first sync of 1,000, over the floor and the render", most: 1.3, unit: times,
		figure: of(inSeconds, "1000", syncFirst, "1000", floorDryRuns, floorPatches, ourBuild),
		why:    "kinds are written in Flux's order, one after the other, while the floor writes all at once",
	},
	{what: "first sync of 1,000", most: 2060, unit: requests, figure: single(inRequests, "1000", syncFirst)},
	{what: "1,000, nothing to do, warm", most: 40, unit: requests, figure: single(inRequests, "1000", syncWarm)},
	{
		what: "1,000, nothing to do, warm: faster than ResourceManager with its render", most: 20, unit: times, atLeast: true,
		figure: of(inSeconds, "1000", fluxReconcile, "1000", syncWarm),
		why:    "a third of the time is the start of the process and of the connection",
	},
	{
		what: "1,000, nothing to do, cold: faster than that", most: 3, unit: times, atLeast: true,
		figure: of(inSeconds, "1000", fluxReconcile, "1000", syncCold),
		why:    "most of it is the render",
	},
	{
		what: "render of 5,000 plain objects, over that of 1,000", most: 6, unit: times,
		figure: of(inSeconds, "5000", ourBuild, "1000", ourBuild),
		why:    "the collector has more to go through",
	},
	{
		what: "render of 5,000: faster than `kustomize build`", most: 10, unit: times, atLeast: true,
		figure: of(inSeconds, "5000", kustomizeBuild, "5000", ourBuild),
		why:    "each object still goes through kustomize; only to compare all with all is saved",
	},
	{what: "1,000, 10 drifted: requests of a sync", most: 60, unit: requests, figure: single(inRequests, "1000", syncDrift)},
	{what: "5,000, 50 drifted: requests of a sync", most: 140, unit: requests, figure: single(inRequests, "5000", syncDrift)},
	{
		what: "1,000, 1 % drifted: requests of a diff, over those of the sync that finds the same", most: 1, unit: times,
		figure: of(inRequests, "1000", diffDrift, "1000", syncDrift),
	},
	{
		what: "1,000, 1 % drifted: seconds of a diff, over those of the sync that finds the same", most: 1, unit: times,
		figure: of(inSeconds, "1000", diffDrift, "1000", syncDrift),
		why:    "both render and compare the same, and the diff is longer to print",
	},
	{
		what: "nothing to do, warm: 5,000 over 1,000", most: 2.5, unit: times,
		figure: of(inSeconds, "5000", syncWarm, "1000", syncWarm),
		why: "the API server has five times the objects to filter, to encode and to compress for the LISTs of metadata, and the record has five times the entries; " +
			"only a server that tells what has changed since the last LIST would spare it that",
	},
	{what: "200 × 20, nothing to do, warm", most: 1.5, unit: seconds, figure: single(inSeconds, "200 × 20", syncWarm), why: "200 records are compared with 200 specs"},
	{what: "200 × 20: LISTs of ten kinds, the records, webhooks and policies", most: 13, unit: " LISTs", figure: single(inLists, "200 × 20", syncWarm)},
	{
		what: "5,000: peak memory of any run", most: 350, unit: " MB",
		figure: func(t *table) (float64, bool) {
			most := int64(0)
			for _, r := range t.rows {
				if r.objects == "5000" && (strings.HasPrefix(r.what, "sync") || strings.HasPrefix(r.what, "diff")) {
					most = max(most, r.rss)
				}
			}
			return float64(most) * 1024 / 1e6, most > 0
		},
		why: "some 80 MB are pages of the binary, which are shared; the live objects are decoded whole, managed fields and all",
	},
	{what: startVersion, most: 0.1, unit: seconds, figure: single(inSeconds, "", startVersion), why: "what libraries do before main begins"},
	{what: startHelp, most: 0.1, unit: seconds, figure: single(inSeconds, "", startHelp), why: "what libraries do before main begins"},
	{what: startCompletion, most: 0.15, unit: seconds, figure: single(inSeconds, "", startCompletion), why: "what libraries do before main begins"},
}

// reach sets what was measured beside what was asked for.
func (t *table) reach() string {
	number := func(f float64, unit string) string {
		switch unit {
		case times:
			return fmt.Sprintf("%.1f%s", f, unit)
		case seconds:
			return fmt.Sprintf("%.2f%s", f, unit)
		}
		return fmt.Sprintf("%.0f%s", f, unit)
	}
	lines := []string{"Of the figures below: what was asked for, in one run on one machine, and what came out.\n", "| | asked for | measured | |", "|---|--:|--:|---|"}
	for _, g := range targets {
		f, ok := g.figure(t)
		limit, measured, verdict := "≤ ", "", "not measured"
		if g.atLeast {
			limit = "≥ "
		}
		if ok {
			reached := f <= g.most
			if g.atLeast {
				reached = f >= g.most
			}
			measured, verdict = number(f, g.unit), "reached"
			if !reached {
				verdict = fmt.Sprintf("**missed** by %.0f %%", 100*max(f/g.most-1, 1-f/g.most))
				if g.why != "" {
					verdict += ": " + g.why
				}
			}
		}
		lines = append(lines, fmt.Sprintf("| %s | %s%s | %s | %s |", g.what, limit, number(g.most, g.unit), measured, verdict))
	}
	return strings.Join(lines, "\n")
}
