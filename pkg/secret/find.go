package secret

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// FindOptions says where Find looks. The zero value is this process's own
// environment; the functions are there for tests.
type FindOptions struct {
	// KeyFile is --age-key-file, "" if it was not given.
	KeyFile string
	// Getenv reads a variable; os.Getenv if nil.
	Getenv func(string) string
	// Home is the home directory; os.UserHomeDir if "".
	Home string
	// ReadFile reads a key file; os.ReadFile if nil.
	ReadFile func(string) ([]byte, error)
	// GOOS is the platform whose default locations count; this one's if "".
	GOOS string
}

// Find looks for age identities in --age-key-file and wherever sops 3.13 would:
// SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, the default key file of the platform,
// SOPS_AGE_SSH_PRIVATE_KEY_FILE, ~/.ssh/id_ed25519 and ~/.ssh/id_rsa. The commands
// in SOPS_AGE_KEY_CMD and SOPS_AGE_SSH_PRIVATE_KEY_CMD are noted, and run when a
// sealed file needs them. Nothing prompts: keys under a passphrase are recorded
// as places and left.
//
// A --age-key-file that cannot be read, has a line that is no identity, or holds
// none that this version uses is an error; everywhere else is a Place, whatever
// came of it.
func Find(o FindOptions) (*Keyring, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Home == "" {
		o.Home, _ = os.UserHomeDir()
	}
	o.GOOS = cmp.Or(o.GOOS, runtime.GOOS)
	k := &Keyring{keys: &dataKeys{}}

	if o.KeyFile != "" {
		data, err := o.ReadFile(o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--age-key-file %s: %s", o.KeyFile, readFailure(err))
		}
		found := parseAge(string(data), false)
		if found.bad != "" || len(found.ids) == 0 {
			return nil, fmt.Errorf("--age-key-file %s: %s", o.KeyFile, found.outcome())
		}
		k.add("--age-key-file "+o.KeyFile, found)
	}

	if text := o.Getenv("SOPS_AGE_KEY"); text != "" {
		k.add("SOPS_AGE_KEY", parseAge(text, true))
	} else {
		k.miss("SOPS_AGE_KEY", "not set")
	}
	k.envFile(o, "SOPS_AGE_KEY_FILE", ageFile)
	k.command(o, "SOPS_AGE_KEY_CMD", ageFile)
	dirs := configDirs(o)
	for _, dir := range dirs {
		k.file(o, "", filepath.Join(dir, "sops", "age", "keys.txt"), ageFile)
	}
	if len(dirs) == 0 {
		k.miss("the default key file of sops", "no home directory is known")
	}

	k.envFile(o, "SOPS_AGE_SSH_PRIVATE_KEY_FILE", parseSSH)
	k.command(o, "SOPS_AGE_SSH_PRIVATE_KEY_CMD", parseSSH)
	if o.Home != "" {
		k.file(o, "", filepath.Join(o.Home, ".ssh", "id_ed25519"), parseSSH)
		k.file(o, "", filepath.Join(o.Home, ".ssh", "id_rsa"), parseSSH)
	}
	return k, nil
}

func ageFile(data []byte) identities { return parseAge(string(data), false) }

// configDirs are the directories that may hold sops/age/keys.txt, as in
// sops's getUserConfigDir. On darwin sops reads XDG_CONFIG_HOME where it is set
// and else ~/Library/Application Support; ~/.config, where many people put the
// file by the manual of Linux, is looked at as well.
func configDirs(o FindOptions) []string {
	xdg := o.Getenv("XDG_CONFIG_HOME")
	var dirs []string
	switch {
	case o.GOOS == "windows":
		if dir := o.Getenv("AppData"); dir != "" {
			dirs = append(dirs, dir)
		}
		return dirs
	case xdg != "" && (o.GOOS == "darwin" || filepath.IsAbs(xdg)):
		dirs = append(dirs, xdg)
	case o.GOOS == "darwin" && o.Home != "":
		dirs = append(dirs, filepath.Join(o.Home, "Library", "Application Support"))
	}
	if o.Home != "" && (len(dirs) == 0 || o.GOOS == "darwin") {
		dirs = append(dirs, filepath.Join(o.Home, ".config"))
	}
	return dirs
}

// envFile reads the key file that a variable names.
func (k *Keyring) envFile(o FindOptions, env string, parse func([]byte) identities) {
	path := o.Getenv(env)
	if path == "" {
		k.miss(env, "not set")
		return
	}
	k.file(o, env, path, parse)
}

// file reads a key file; env is the variable that named it, "" if none did.
func (k *Keyring) file(o FindOptions, env, path string, parse func([]byte) identities) {
	where := path
	if env != "" {
		where = env + "=" + path
	}
	data, err := o.ReadFile(path)
	if err != nil {
		k.miss(where, readFailure(err))
		return
	}
	k.add(where, parse(data))
}

func (k *Keyring) command(o FindOptions, env string, parse func([]byte) identities) {
	line := o.Getenv(env)
	if line == "" {
		k.miss(env, "not set")
		return
	}
	cmd := &command{env: env, line: line, parse: parse}
	k.commands = append(k.commands, cmd)
	k.places = append(k.places, place{cmd: cmd})
}

// readFailure says why a file could not be read, without its path, which the
// caller names.
func readFailure(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory"
	}
	if pe := new(fs.PathError); errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
