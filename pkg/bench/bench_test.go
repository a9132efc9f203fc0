package bench

import "testing"

func TestASectionIsReplacedWhereItStands(t *testing.T) {
	doc := Replace("# Benchmarks\n", "sync", "## Sync\nold\n")
	doc = Replace(doc, "secret", "## Secret\n1\n")
	doc = Replace(doc, "sync", "## Sync\nnew\n")
	want := "# Benchmarks\n\n<!-- bench sync -->\n## Sync\nnew\n<!-- /bench sync -->\n\n" +
		"<!-- bench secret -->\n## Secret\n1\n<!-- /bench secret -->\n"
	if doc != want {
		t.Errorf("got\n%s\nwant\n%s", doc, want)
	}
}
