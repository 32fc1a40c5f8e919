// Package types keeps the modules in go.mod whose API types packcrds makes
// CustomResourceDefinitions of by controller-gen, because no module carries
// those definitions.
package types

import (
	_ "github.com/fluxcd/helm-controller/api/v2"
	_ "github.com/fluxcd/image-automation-controller/api/v1"
	_ "github.com/fluxcd/image-reflector-controller/api/v1"
	_ "github.com/fluxcd/notification-controller/api/v1"
)
