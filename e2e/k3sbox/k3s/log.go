package main

import (
	"fmt"
	"os"
	"time"
)

// logf writes a line as K3s's logger does: key=value on stderr, from where
// systemd takes it to the journal.
func logf(level, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "time=%q level=%s msg=%q\n",
		time.Now().Format(time.RFC3339), level, fmt.Sprintf(format, args...))
}
