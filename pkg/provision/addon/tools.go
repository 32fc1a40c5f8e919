package addon

// Programs that labs run in Pods of their own.

var opa = Addon{
	Name:  "opa",
	Doc:   "Open Policy Agent, as an image: opa eval, opa test, opa run --server",
	Quiet: true,
	Images: []Image{{
		Name: "opa", Module: "opa", Requires: "github.com/open-policy-agent/opa", Program: "opa",
	}},
}

var cosign = Addon{
	Name:  "cosign",
	Doc:   "cosign, as an image: signatures of container images and files",
	Quiet: true,
	Images: []Image{{
		Name: "cosign", Module: "cosign", Requires: "github.com/sigstore/cosign/v2", Program: "cosign",
		Version: "sigs.k8s.io/release-utils/version.gitVersion",
	}},
}
