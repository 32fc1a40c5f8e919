// Command coredns is the cluster's DNS server with CoreDNS's standard set of
// plug-ins.
package main

import (
	_ "github.com/coredns/coredns/core/plugin" // the plug-ins register themselves
	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
