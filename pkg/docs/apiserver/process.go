package apiserver

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// child is a program that runs until stop, or until labctl ends.
type child struct {
	name string
	log  string // the file of its output
	pid  int
	// ended is closed when the program has ended; how says it in words.
	ended chan struct{}
	how   string
}

// start runs a program in the folder dir; what it prints goes to NAME.log
// there.
func start(dir, name, path string, args ...string) (*child, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	c := &child{name: name, log: log.Name(), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends
		// (PR_SET_PDEATHSIG, prctl(2)), so this one waits for it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState says it
			c.how = cmd.ProcessState.String()
		}
		_ = log.Close() // the child has its own descriptor
		close(c.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.pid = cmd.Process.Pid
	return c, nil
}

// stop ends the program at once: all that it has is thrown away. It may be
// called twice.
func (c *child) stop() {
	if !c.hasEnded() {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL) // it may end by itself at this moment
		<-c.ended
	}
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// failure is err with the end of what the program has printed.
func (c *child) failure(err error) error {
	if c.hasEnded() {
		err = fmt.Errorf("%w: %s ended (%s)", err, c.name, c.how)
	}
	if said := tail(c.log); said != "" {
		err = fmt.Errorf("%w; the end of its log:\n%s", err, said)
	}
	return err
}

// tail gives the last lines of a file that are worth showing.
func tail(file string) string {
	const size, lines = 16 << 10, 12
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was read
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-size), io.SeekStart) // at worst from where it stands
	}
	b, _ := io.ReadAll(io.LimitReader(f, size)) // what could be read is shown
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i, l := range all {
		all[i] = "  " + l
	}
	return strings.TrimRight(strings.Join(all[max(0, len(all)-lines):], "\n"), " \n")
}
