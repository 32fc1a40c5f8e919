package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// space says how many bytes an unprivileged user has left on the file system
// of dir, and which file system that is.
func space(dir string) (device, free uint64, err error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("stat %s: %w", dir, err)
	}
	// The types differ between platforms.
	return uint64(st.Dev), fs.Bavail * uint64(fs.Bsize), nil //nolint:unconvert // int32 on darwin
}

// capacity is what root has left on the file system of dir and how large it
// is, in bytes; 0 where that can't be told.
func capacity(dir string) (free, size uint64) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0
	}
	return fs.Bfree * uint64(fs.Bsize), fs.Blocks * uint64(fs.Bsize)
}
