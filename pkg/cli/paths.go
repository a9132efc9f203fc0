package cli

import (
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// takes says what a flag's value names on the disk.
type takes int

const (
	noPath takes = iota
	aFile
	aDirectory
	aSourceDirectory // relative to the root of the source
)

// pathOf tells by the name of a flag, which means the same in every command.
func pathOf(flag string) takes {
	switch flag {
	case "path", "sync-path":
		return aSourceDirectory
	case "source", "cache-dir", "dir", "tmpdir":
		return aDirectory
	case "kubeconfig", "certificate-authority", "client-certificate", "client-key", "git-ssh-key", "git-known-hosts",
		"signing-key", "tags", "out", "cert", "key", "add-to":
		return aFile
	}
	if strings.HasSuffix(flag, "file") {
		return aFile
	}
	return noPath
}

var drive = regexp.MustCompile(`^([A-Za-z]):\\`)

// notOfWindows refuses what can only be a path of Windows where this is not
// Windows: it would be a file of that name in the current directory, and a key or
// a cache would be written there.
func notOfWindows(c *cobra.Command) (err error) {
	if runtime.GOOS == "windows" {
		return nil
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		kind, at := pathOf(f.Name), drive.FindStringSubmatch(value)
		if kind == noPath || at == nil || err != nil {
			return
		}
		hint := "name it as it is called here; WSL has it at /mnt/" + strings.ToLower(at[1]) + "/" + strings.ReplaceAll(value[len(at[0]):], `\`, "/")
		if kind == aSourceDirectory {
			hint = "give it relative to the source's root, with /"
		}
		err = &usageError{msg: "--" + f.Name + " " + value + ": is a path of Windows, and this is not", hint: hint}
	})
	return err
}
