package probe

import (
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// Decode reads a probe's parameters (JSON, may be empty) into a struct, as
// strictly as the Kubernetes API does: unknown, duplicate and misspelt fields
// are errors that name the field.
func Decode(params []byte, into any) error {
	if len(params) == 0 {
		return nil
	}
	strict, err := kjson.UnmarshalStrict(params, into)
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	if err := errors.Join(strict...); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	return nil
}
