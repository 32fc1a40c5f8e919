//go:build e2e

package e2e

import (
	"slices"
	"testing"
)

// TestWasmLabWithoutWasm puts runc behind the class wasmedge: the claims that
// need a module to run in a Pod turn, and those about the node, the API and
// modules in ordinary containers don't.
func TestWasmLabWithoutWasm(t *testing.T) {
	_, client := shared(t)
	swap(t, client.NodeV1().RuntimeClasses(), "wasmedge", "runc")
	turned := []string{"03-12", "03-26"}
	others := []string{"03-1", "03-6", "03-7", "03-10", "03-11", "03-15", "03-16.alone", "03-16.both", "03-17", "03-31"}
	turn(t, slices.Concat([]string{"wasm-edge"}, only(turned, others)), turned)
}
