//go:build !linux

package secret

// knownMemory are none: other systems have no storage that is sure to be memory.
func knownMemory(func(string) string) []string { return nil }
