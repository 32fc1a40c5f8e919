package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// heartbeat is how often a long step says that it is still at work where
// lines can't be rewritten.
const heartbeat = 30 * time.Second

// console shows progress on a terminal (one line that is rewritten for the
// steps under way) or as plain lines, and keeps the full output in a file.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	live  bool // lines can be rewritten
	file  *os.File
	echo  io.Writer // with -vv: the full output on stderr too
	steps []*step   // under way, oldest first
	shown bool      // a live line stands on the terminal
	stop  chan struct{}
	done  sync.WaitGroup
}

type step struct {
	c           *console
	title       string
	start, said time.Time
	done, total int
	detail      string
}

// newConsole makes the progress log of one command. The log file is
// FOLDER/COMMAND-TIME.log below labctl's state folder. Close it at the end.
func newConsole(g *global, command string) (*console, error) {
	dir := filepath.Join(stateDir(), "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for logs: %w; set XDG_STATE_HOME to a folder that can be written", err)
	}
	prune(dir)
	name := fmt.Sprintf("%s-%s-%d.log", command, time.Now().UTC().Format("20060102T150405"), os.Getpid())
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("make the log file: %w; set XDG_STATE_HOME to a folder that can be written", err)
	}
	c := &console{w: g.err, file: f, live: isTerminal(g.err) && isTerminal(g.out) && g.verbose < 2, stop: make(chan struct{})}
	if g.verbose >= 2 {
		c.echo = g.err
	}
	c.done.Go(c.tick)
	return c, nil
}

// keptLogs is how many log files are kept; older ones are removed.
const keptLogs = 20

func prune(dir string) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) < keptLogs {
		return
	}
	slices.SortFunc(logs, func(a, b string) int { return modified(a).Compare(modified(b)) })
	for _, l := range logs[:len(logs)-keptLogs+1] {
		_ = os.Remove(l) // an old log that stays is no harm
	}
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// stateDir is labctl's folder for state, by the XDG base directory
// specification: $XDG_STATE_HOME or ~/.local/state.
func stateDir() string {
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "labctl")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, ".local", "state", "labctl")
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Close ends the display.
func (c *console) Close() {
	close(c.stop)
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	_ = c.file.Close() // the log is complete as far as it was written
}

func (c *console) Path() string { return c.file.Name() }

func (c *console) Output() io.Writer {
	if c.echo == nil {
		return c.file
	}
	return io.MultiWriter(c.file, c.echo)
}

func (c *console) Info(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line(fmt.Sprintf(format, args...))
}

func (c *console) Start(title string) progress.Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := &step{c: c, title: title, start: now, said: now}
	c.steps = append(c.steps, s)
	fmt.Fprintf(c.file, "== %s %s\n", now.UTC().Format(time.RFC3339), title)
	if !c.live {
		fmt.Fprintf(c.w, "… %s\n", title)
	}
	return s
}

func (s *step) Update(done, total int, detail string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.done, s.total, s.detail = done, total, detail
}

func (s *step) End(err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	i := slices.Index(s.c.steps, s)
	if i < 0 {
		return // ended twice
	}
	s.c.steps = slices.Delete(s.c.steps, i, i+1)
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	s.c.line(fmt.Sprintf("%s %s (%s)", mark, s.title, elapsed(s.start)))
}

// line prints a line that stays.
func (c *console) line(text string) {
	c.clear()
	fmt.Fprintln(c.w, text)
	fmt.Fprintln(c.file, "== "+text)
}

func (c *console) clear() {
	if c.shown {
		fmt.Fprint(c.w, "\r\x1b[K")
		c.shown = false
	}
}

func (c *console) tick() {
	interval := time.Second
	if c.live {
		interval = 200 * time.Millisecond
	}
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case now := <-t.C:
			c.show(now)
		}
	}
}

func (c *console) show(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.steps) == 0 {
		return
	}
	if c.live {
		c.clear()
		fmt.Fprint(c.w, fit(c.steps[len(c.steps)-1].status(), c.w))
		c.shown = true
		return
	}
	for _, s := range c.steps {
		if now.Sub(s.said) >= heartbeat {
			s.said = now
			fmt.Fprintf(c.w, "  %s\n", s.status())
		}
	}
}

func (s *step) status() string {
	text := fmt.Sprintf("… %s (%s", s.title, elapsed(s.start))
	if s.total > 0 {
		text += fmt.Sprintf(", %d of %d", s.done, s.total)
	}
	text += ")"
	if s.detail != "" {
		text += " " + s.detail
	}
	return text
}

// fit cuts a status to one line of the terminal.
func fit(text string, w io.Writer) string {
	text = strings.ReplaceAll(text, "\n", " ")
	f, ok := w.(*os.File)
	if !ok {
		return text
	}
	width, _, err := term.GetSize(int(f.Fd()))
	r := []rune(text)
	if err != nil || width < 2 || len(r) < width {
		return text
	}
	return string(r[:width-1])
}

func elapsed(start time.Time) time.Duration {
	return time.Since(start).Round(100 * time.Millisecond)
}
