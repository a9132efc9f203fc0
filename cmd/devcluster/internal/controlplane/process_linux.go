package controlplane

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// tie has the kernel kill the command when the thread that starts it ends; see StartTied.
func tie(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// lifeline does nothing where tie does it.
func lifeline(*exec.Cmd) {}

// memoryAvailable returns the bytes that can be used without swapping. ok is false when the system does not tell.
func memoryAvailable() (bytes uint64, ok bool) { return kilobytes("/proc/meminfo", "MemAvailable:") }

// residentSize returns the bytes of memory that the process holds. ok is false when there is no such process.
func residentSize(pid int) (bytes uint64, ok bool) {
	return kilobytes("/proc/"+strconv.Itoa(pid)+"/status", "VmRSS:")
}

// sharedSize is the process's part of all memory that is in use: of a page that n processes share, 1/n. The
// components share the pages of one binary.
func sharedSize(pid int) (bytes uint64, ok bool) {
	return kilobytes("/proc/"+strconv.Itoa(pid)+"/smaps_rollup", "Pss:")
}

// kilobytes reads the value of a line such as "VmRSS:   12345 kB".
func kilobytes(path, field string) (bytes uint64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == field {
			n, err := strconv.ParseUint(words[1], 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}
