//go:build !linux

package labprobe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var runIO func(context.Context, []string) (evidence.Set, error)
