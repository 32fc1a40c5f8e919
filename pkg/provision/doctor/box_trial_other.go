//go:build !linux

package doctor

import "context"

// tryFeatures: K3s runs on Linux only.
func tryFeatures(context.Context, string) map[feature]string { return nil }
