package labprobe

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"unsafe"
)

// WASI preview 1 has no call that opens a socket or starts a process; the
// answers come from Go's port to it.
const (
	socketCall = "socket (WASI preview 1 has no such call)"
	execCall   = "exec (WASI preview 1 has no such call)"
)

// The calls and their layout are those of WASI preview 1's witx files.

//go:wasmimport wasi_snapshot_preview1 fd_prestat_get
//go:noescape
func fdPrestatGet(fd int32, prestat unsafe.Pointer) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 fd_prestat_dir_name
//go:noescape
func fdPrestatDirName(fd int32, path unsafe.Pointer, length uint32) syscall.Errno

//go:wasmimport wasi_snapshot_preview1 path_open
//go:noescape
func pathOpen(dir int32, lookup uint32, path unsafe.Pointer, length uint32, oflags uint32, rights, inheriting uint64, fdflags uint32, fd *int32) syscall.Errno

// firstPreopen: hosts hand out preopened directories after stdin, stdout and
// stderr, in one row.
const firstPreopen = 3

// readRights are fd_read, fd_seek, fd_tell, fd_readdir and fd_filestat_get:
// Go's own open asks for more, and some hosts take that for writing.
const readRights = 1<<1 | 1<<2 | 1<<5 | 1<<14 | 1<<21

const followSymlinks = 1

func preopens() []string {
	var dirs []string
	for fd := int32(firstPreopen); ; fd++ {
		var prestat struct {
			kind   uint8
			_      [3]byte
			length uint32
		}
		if fdPrestatGet(fd, unsafe.Pointer(&prestat)) != 0 {
			return dirs
		}
		if prestat.kind != 0 || prestat.length == 0 { // 0 is a directory
			return dirs
		}
		name := make([]byte, prestat.length)
		if fdPrestatDirName(fd, unsafe.Pointer(&name[0]), prestat.length) != 0 {
			return dirs
		}
		dirs = append(dirs, string(name))
	}
}

// openat asks the host, which is the one that refuses, to open a path
// relative to a directory.
func openat(dir int32, name string) (*os.File, error) {
	var fd int32
	errno := pathOpen(dir, followSymlinks, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), 0, readRights, readRights, 0, &fd)
	if errno != 0 {
		return nil, &fs.PathError{Op: "path_open", Path: name, Err: errno}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// open opens an absolute path through the preopened directory that holds it;
// where none does, it climbs out of the first one, as hostile code would.
// Hosts differ in whether a directory's name keeps its leading slash.
func open(name string) (*os.File, error) {
	name = path.Join("/", name)
	fd, best := int32(-1), ""
	for i, dir := range preopens() {
		dir = path.Join("/", dir)
		if inside(name, dir) && len(dir) > len(best) {
			fd, best = int32(firstPreopen+i), dir
		}
	}
	if fd < 0 {
		return openat(firstPreopen, climb+name[1:])
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(name, best), "/")
	return openat(fd, cmp.Or(rest, "."))
}

func inside(name, dir string) bool {
	return dir == "/" || name == dir || strings.HasPrefix(name, dir+"/")
}

func escape() (ref string, err error) {
	ref = fmt.Sprintf("path_open %d ../…/etc/hostname", firstPreopen)
	f, err := openat(firstPreopen, climb+"etc/hostname")
	if err == nil {
		_ = f.Close() // was not read
	}
	return ref, err
}

// root is the tree of files that the program was granted.
func root() fs.FS { return granted{} }

type granted struct{}

func (granted) Open(name string) (fs.File, error) { return open(name) }

func (granted) ReadLink(name string) (string, error) { return os.Readlink("/" + name) }

func (granted) Lstat(name string) (fs.FileInfo, error) { return os.Lstat("/" + name) }

// ReadFile reads in large pieces: a file of /proc/sys gives its content to
// the first read alone, and fs.ReadFile asks for one byte of a file of size 0.
func (granted) ReadFile(name string) ([]byte, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	return io.ReadAll(f)
}
