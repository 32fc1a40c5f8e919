// Command labprobe takes labctl's measurements where it is started: on a
// host, on a node, in a container of any runtime class, in WebAssembly.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/labprobe"
)

func main() {
	// PID 1 of a container gets SIGTERM only if it asks for it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := labprobe.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
