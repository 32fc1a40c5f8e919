// Command labctl turns technical documents into executable labs.
package main

import (
	"os"

	"github.com/isolation-stack/labctl/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
