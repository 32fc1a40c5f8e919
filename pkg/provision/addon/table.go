package addon

// Table is every add-on that labctl knows, by name.
func Table() []Addon {
	return []Addon{
		cosign,
		csiHostpath,
		gatekeeper,
		kubeStateMetrics,
		kwok,
		metricsServer,
		networkPolicy(),
		opa,
	}
}
