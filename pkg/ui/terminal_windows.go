package ui

import (
	"errors"

	"golang.org/x/sys/windows"
)

// enableEscapes asks the console to understand escape sequences, and reports
// whether it does: Windows before 10 and the legacy console do not.
func enableEscapes(fd uintptr) bool {
	var mode uint32
	if err := windows.GetConsoleMode(windows.Handle(fd), &mode); err != nil {
		return false
	}
	if mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 {
		return true
	}
	return windows.SetConsoleMode(windows.Handle(fd), mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// brokenPipe knows what Windows says in place of EPIPE.
func brokenPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
