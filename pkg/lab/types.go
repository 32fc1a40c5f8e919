// Package lab holds the spec that ties a document to a lab: its types, strict
// loading with positions, validation and the catalogue.
package lab

//go:generate go run ./schemagen ../../labs/lab.schema.json

import "encoding/json"

// APIVersion and Kind are the type that every spec names.
const (
	APIVersion = "labctl.dev/v1alpha1"
	Kind       = "Lab"
)

// Layer is one of the five isolation layers of the documents, or a plane
// across them.
type Layer string

// The layers and planes.
const (
	L0            Layer = "L-0" // hardware assist
	L1            Layer = "L-1" // full virtualization
	L2            Layer = "L-2" // paravirtualization
	L3            Layer = "L-3" // containers
	L4            Layer = "L-4" // sandboxes
	Kubernetes    Layer = "kubernetes"
	Network       Layer = "network"
	Storage       Layer = "storage"
	Policy        Layer = "policy"
	Observability Layer = "observability"
)

// Layers lists every layer and plane in the order of reports.
var Layers = []Layer{L0, L1, L2, L3, L4, Kubernetes, Network, Storage, Policy, Observability}

// Verdict is what a claim turned out to be.
type Verdict string

// The verdicts. Planned is for claims that no probe exists for yet; they are
// never run and never count as decided.
const (
	Confirmed    Verdict = "confirmed"
	Refuted      Verdict = "refuted"
	Inconclusive Verdict = "inconclusive"
	Untestable   Verdict = "untestable"
	Planned      Verdict = "planned"
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{Confirmed, Refuted, Inconclusive, Untestable, Planned}

// Lab is one lab spec: what to provision, what to apply, what to verify.
type Lab struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`

	origin origin // where the fields stand, for messages
}

// Metadata names a lab.
type Metadata struct {
	// Name is unique in the catalogue, a DNS-1123 label.
	Name string `json:"name"`
}

// Text is text for people, in both languages of the labs.
type Text struct {
	EN string `json:"en" jsonschema:"minLength=1"`
	ZH string `json:"zh" jsonschema:"minLength=1"`
}

// Spec is the body of a lab.
type Spec struct {
	// Document is the path of the document, relative to the docs folder.
	Document string `json:"document"`
	Title    Text   `json:"title"`
	Layer    Layer  `json:"layer"`
	Needs    Needs  `json:"needs,omitempty"`
	// Intro says what the lab shows, at the head of its guide.
	Intro *Text `json:"intro,omitempty"`
	// Manifests are files to apply, relative to the manifests folder.
	Manifests []string `json:"manifests,omitempty"`
	Claims    []Claim  `json:"claims" jsonschema:"minItems=1"`
	// Examples tie manifests to the examples of the document that they stand
	// for.
	Examples []Example `json:"examples,omitempty"`
	Steps    []Step    `json:"steps,omitempty"`
}

// Needs says what a lab needs provisioned.
type Needs struct {
	// Runtimes are runc, gvisor, wasmedge.
	Runtimes []string `json:"runtimes,omitempty" jsonschema:"enum=runc,enum=gvisor,enum=wasmedge"`
	// Nodes is the least number of nodes, 1 if absent; 0 means the lab needs
	// no cluster.
	Nodes *int `json:"nodes,omitempty" jsonschema:"minimum=0"`
	// Host are features of the host that some claims want (kvm, btf, qemu);
	// informative: a claim whose feature is missing is untestable.
	Host []string `json:"host,omitempty"`
	// Addons are the add-ons that claims of the lab name.
	Addons []string `json:"addons,omitempty"`
	// Docker says that the lab has a Docker of its own, in a container.
	Docker bool `json:"docker,omitempty"`
}

// Example is a manifest of ours that does what an example of the document
// means.
type Example struct {
	// Manifest is a file relative to the manifests folder.
	Manifest string `json:"manifest"`
	Source   Source `json:"source"`
	// Differs says what is different from the document's, and why; absent
	// where nothing is.
	Differs *Text `json:"differs,omitempty"`
}

// Claim is one falsifiable statement of a document.
type Claim struct {
	// ID is unique in the catalogue: the id of the corpus map (29-88), with
	// a suffix where one claim of the map holds two statements (29-88.pod).
	ID string `json:"id"`
	// Statement is the claim in our own words.
	Statement Text   `json:"statement"`
	Source    Source `json:"source"`
	Layer     Layer  `json:"layer"`
	// Addons are the add-ons that are up while the claim is measured; Without
	// are those that aren't.
	Addons  []string `json:"addons,omitempty"`
	Without []string `json:"without,omitempty"`
	// Probes measure, each under the name of its subject.
	Probes []Probe `json:"probes,omitempty"`
	// Decide is CEL over evidence and gives a bool: true confirms, false refutes.
	Decide string `json:"decide,omitempty"`
	// Unless are cases in which Decide may not be asked, in order.
	Unless []Unless `json:"unless,omitempty"`
	// Show names the values that the table shows; all if absent.
	Show   []string `json:"show,omitempty"`
	Expect Verdict  `json:"expect"`
	// Truth says what is true instead; required where Expect is refuted.
	Truth *Text `json:"truth,omitempty"`
	// Because says why a claim is planned or can't be tested at all; such a
	// claim has no probes.
	Because *Text `json:"because,omitempty"`
}

// Source ties a claim to the text that makes it.
type Source struct {
	// Path of the document; the lab's document if absent.
	Path string `json:"path,omitempty"`
	// Heading is the number or the start of the nearest heading above.
	Heading string `json:"heading"`
	// Line is the first line, counted from 1.
	Line int `json:"line" jsonschema:"minimum=1"`
	// Lines is how many lines the claim spans, 1 if absent.
	Lines int `json:"lines,omitempty" jsonschema:"minimum=1"`
	// SHA256 is the hex digest of those lines, each ended by one \n
	// (a trailing \r is dropped).
	SHA256 string `json:"sha256" jsonschema:"pattern=^[0-9a-f]{64}$"`
}

// Probe asks for one measurement.
type Probe struct {
	// As is the subject: the prefix of the evidence's names in expressions.
	As string `json:"as" jsonschema:"pattern=^[a-z][a-z0-9_]*$"`
	// Kind is the probe family: host, node, pod, microvm, …
	Kind string `json:"kind"`
	// With are the parameters, decoded strictly by the family.
	With json.RawMessage `json:"with,omitempty"`
}

// Unless is a case in which the evidence doesn't decide.
type Unless struct {
	// When is CEL over evidence that gives a bool.
	When string `json:"when"`
	// Verdict is untestable (the host can't show it) or inconclusive (the
	// evidence doesn't decide).
	Verdict Verdict `json:"verdict"`
	Because Text    `json:"because"`
}

// Step is one thing that a person does in the lab.
type Step struct {
	Title Text `json:"title"`
	// Run is a command to type.
	Run string `json:"run,omitempty"`
	// Look says what to look at.
	Look Text `json:"look"`
	// Check says whether the step is done, by the state of the cluster.
	Check *Check `json:"check,omitempty"`
}

// Check is a condition on an object, or on the objects of a selector.
type Check struct {
	// APIVersion is needed only where a kind is in several groups.
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind"`
	// Namespace is lab, the one that people work in, if absent.
	Namespace string `json:"namespace,omitempty"`
	// Exactly one of Name and Selector; an empty selector takes all.
	Name     string  `json:"name,omitempty"`
	Selector *string `json:"selector,omitempty"`
	// For is CEL over object, which is null where there is none, or over
	// objects, a list; it gives a bool.
	For string `json:"for"`
	// Hint is for those who aren't done.
	Hint Text `json:"hint"`
	// Until is the number of a later step that takes away what this one made:
	// when that one is done, so is this one.
	Until int `json:"until,omitempty" jsonschema:"minimum=1"`
}
