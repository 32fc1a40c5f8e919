package main

import "golang.org/x/sys/unix"

// memory is the machine's, in bytes (sysinfo(2)); 0 where it isn't said.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // Totalram has 32 bits on 32-bit machines
}
