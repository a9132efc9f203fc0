//go:build unix && !linux

package controlplane

import (
	"os/exec"
	"strconv"
	"strings"
)

// tie does nothing: only Linux signals a child upon its parent's death. Components have the lifeline instead; the
// command that `up` runs is not tied to it here.
func tie(*exec.Cmd) {}

// lifeline gives the component a pipe as stdin whose other end only this process holds, and tells it to end when
// that closes.
func lifeline(cmd *exec.Cmd) {
	if _, err := cmd.StdinPipe(); err == nil {
		cmd.Env = append(cmd.Env, LifelineVariable+"=stdin")
	}
}

// memoryAvailable is not known here.
func memoryAvailable() (bytes uint64, ok bool) { return 0, false }

// residentSize returns the bytes of memory that the process holds. ok is false when there is no such process.
func residentSize(pid int) (bytes uint64, ok bool) {
	text, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n << 10, err == nil
}

// sharedSize is not known here.
func sharedSize(int) (bytes uint64, ok bool) { return 0, false }
