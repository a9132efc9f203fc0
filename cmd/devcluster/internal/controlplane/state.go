package controlplane

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// State describes a control plane that runs. It is kept in its directory for `status`.
type State struct {
	PID        int               `json:"pid"` // the process that owns the components
	Server     string            `json:"server"`
	Components Set               `json:"components"`
	Nodes      []string          `json:"nodes,omitempty"`
	Dir        string            `json:"dir"`
	Kubeconfig string            `json:"kubeconfig"`
	CacheDir   string            `json:"cacheDir"` // for KUBECACHEDIR
	Versions   map[string]string `json:"versions"`
	Processes  []ProcessState    `json:"processes"`
	Started    time.Time         `json:"started"`
	Took       time.Duration     `json:"took"` // nanoseconds until it was ready
}

// ProcessState is one component of a State.
type ProcessState struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Log  string `json:"log"`
}

// ResidentSize returns the bytes of memory that the component holds now. ok is false when it does not run.
func (p ProcessState) ResidentSize() (bytes uint64, ok bool) { return residentSize(p.PID) }

// TotalSize returns the bytes of memory that all components hold together, pages that they share counted once. ok is
// false where the system does not tell.
func (s State) TotalSize() (bytes uint64, ok bool) {
	for _, p := range s.Processes {
		size, ok := sharedSize(p.PID)
		if !ok {
			return 0, false
		}
		bytes += size
	}
	return bytes, true
}

// Environment is what a program needs to use the control plane, as KEY=value. KUBECACHEDIR is among it because
// kubectl keeps what it discovered by host and port, and a port comes back with another cluster behind it.
func (s State) Environment() []string {
	return []string{"KUBECONFIG=" + s.Kubeconfig, "KUBECACHEDIR=" + s.CacheDir, "DEVCLUSTER=" + s.Dir}
}

// writeState puts the whole state in place at once: a reader sees all of it or none.
func writeState(d *Dir, s State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temp := d.file(credentialsDir, stateName)
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, d.file(stateName))
}

// FailureLog is where a control plane in the background writes why it ended on its own.
func FailureLog(dir string) string { return filepath.Join(dir, logsDir, "devcluster.log") }

// ErrStarting says that a devcluster owns the directory but is not ready for the first time yet.
var ErrStarting = errors.New("it is starting")

// ErrNotRunning says that no devcluster owns the directory.
var ErrNotRunning = errors.New("no devcluster runs")

// ReadState returns the state of the control plane that runs in dir.
func ReadState(dir string) (State, error) {
	var s State
	pid, err := Owner(dir)
	if err != nil {
		return s, err
	}
	if pid == 0 {
		return s, ErrNotRunning
	}
	text, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return s, ErrStarting
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w — stop it with: devcluster down --dir %s", filepath.Join(dir, stateName), err, dir)
	}
	return s, nil
}

// Ready asks the API server and the nodes whether they can be used. It returns the first reason why not.
func (s State) Ready(ctx context.Context) error {
	ca, token, err := readKubeconfig(s.Kubeconfig)
	if err != nil {
		return err
	}
	a, err := newAPI(s.Server, ca, token)
	if err != nil {
		return err
	}
	for _, p := range s.Processes {
		if _, ok := p.ResidentSize(); !ok {
			return fmt.Errorf("%s is gone; see %s", p.Name, p.Log)
		}
	}
	if err := a.ready(ctx); err != nil {
		return err
	}
	for _, name := range s.Nodes {
		if err := a.nodeReady(name)(ctx); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// readKubeconfig returns the certificate authority and the first token of a file that writeKubeconfig wrote.
func readKubeconfig(path string) (ca []byte, token string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan() && token == ""; {
		line := strings.TrimSpace(lines.Text())
		if encoded, ok := strings.CutPrefix(line, "certificate-authority-data: "); ok {
			if ca, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				return nil, "", fmt.Errorf("%s: %w", path, err)
			}
		}
		if quoted, ok := strings.CutPrefix(line, `user: {token: "`); ok {
			token = strings.TrimSuffix(quoted, `"}`)
		}
	}
	if ca == nil || token == "" {
		return nil, "", fmt.Errorf("%s is not a kubeconfig that devcluster wrote", path)
	}
	return ca, token, nil
}
