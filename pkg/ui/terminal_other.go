//go:build !windows

package ui

func enableEscapes(uintptr) bool { return true }

func brokenPipe(error) bool { return false }
