//go:build !linux

package labprobe

// bareSyscall: no other platform's getpid would be one to compare with.
var bareSyscall func() error
