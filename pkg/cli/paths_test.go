package cli

import (
	"runtime"
	"testing"

	"github.com/spf13/cobra"
)

// A path of Windows, given elsewhere, makes no file of that name.
func TestPathsOfWindowsElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there they are paths")
	}
	for _, tt := range []struct{ args, hint string }{
		{`--kubeconfig=C:\Users\ada\.kube\config`, "name it as it is called here; WSL has it at /mnt/c/Users/ada/.kube/config"},
		{`--out=d:\key.txt`, "name it as it is called here; WSL has it at /mnt/d/key.txt"},
		{`--age-key-file=C:\keys.txt`, "name it as it is called here; WSL has it at /mnt/c/keys.txt"},
		{`--path=C:\gitops\clusters\vps`, "give it relative to the source's root, with /"},
		{`--path=clusters\vps`, ""}, // a name with \ is one here
		{`--reason=C:\ is full`, ""},
		{`--source=c:src/gitops`, ""}, // a host of one letter
	} {
		c := &cobra.Command{Run: func(*cobra.Command, []string) {}}
		for _, name := range []string{"kubeconfig", "out", "age-key-file", "path", "reason", "source"} {
			c.Flags().String(name, "", "")
		}
		if err := c.ParseFlags([]string{tt.args}); err != nil {
			t.Fatal(err)
		}
		hint := ""
		if err := notOfWindows(c); err != nil {
			hint = err.(*usageError).hint
		}
		if hint != tt.hint {
			t.Errorf("%s: hint %q, want %q", tt.args, hint, tt.hint)
		}
	}
}
