package judge

import "github.com/isolation-stack/labctl/pkg/docs"

// The ids of the rules.
const (
	apiRejected       = "api-rejected"
	missingField      = "missing-field"
	unknownField      = "unknown-field"
	wrongType         = "wrong-type"
	immutableField    = "immutable-field"
	serverSetField    = "server-set-field"
	printedObject     = "printed-object"
	missingDependency = "missing-dependency"
	admissionRefused  = "admission-refused"
	clusterDependent  = "cluster-dependent"
	removedAPI        = "removed-api"
	deprecatedAPI     = "deprecated-api"
	unservedAPI       = "unserved-api"
	unknownAPI        = "unknown-api"
	unknownKind       = "unknown-kind"
	apiWarning        = "api-warning"
	expectedRejection = "expected-rejection"
	namespaceMismatch = "namespace-mismatch"
	unknownTarget     = "unknown-after"
	notJudged         = "not-judged"
)

// Rules are those that this package's findings break.
var Rules = []docs.Rule{
	{
		ID: apiRejected, Severity: docs.Error, Title: "the API server refuses the object",
		Help: "A kube-apiserver refused this object with these words when it was created as the document shows it: " +
			"a field has a value that isn't allowed, or doesn't go together with another one. " +
			"It is a note where a placeholder stands for the value, such as <name>.",
	},
	{
		ID: missingField, Severity: docs.Error, Title: "the object lacks fields that the API requires",
		Help: "The API server refuses the object without these fields. If the example is meant as an excerpt, say so where something is " +
			"left out, with a comment of three dots (\"# ...\"): then this is a note.",
	},
	{
		ID: unknownField, Severity: docs.Error, Title: "the object has no such field",
		Help: "The field isn't in the API. kubectl, which validates strictly by default, refuses the object; a client that doesn't " +
			"drops the field silently. It is often misspelt, indented too far or not far enough, or of another API version.",
	},
	{
		ID: wrongType, Severity: docs.Error, Title: "the field's value is of another type",
		Help: "The API wants another type here: a string where YAML reads a number or a boolean (put it in quotes), " +
			"a number where there is a string, a list where there is a mapping, a quantity or a time that can't be read.",
	},
	{
		ID: immutableField, Severity: docs.Error, Title: "the object is there already, and this field can't change",
		Help: "The document has this object twice, and the API server refuses the second one as an update of the first. " +
			"Whoever follows the document has to delete the first one, or one of them needs another name. " +
			"It is a warning if the two stand in different examples, which may be alternatives, unless a mark says that one " +
			"comes after the other: <!-- labctl: after: LINE -->.",
	},
	{
		ID: serverSetField, Severity: docs.Error, Title: "the field is set by the API server",
		Help: "metadata.uid and metadata.resourceVersion are given by the API server. In a manifest they make an apply fail, " +
			"or make it depend on one object of one cluster. Leave them out.",
	},
	{
		ID: printedObject, Severity: docs.Note, Title: "the object is output of an API server, not a manifest",
		Help: "The object has a status, or a uid with a version or a time of creation, as an API server prints it. It is judged " +
			"without what the server sets; fields that are missing don't count, and what else is wrong counts as a warning.",
	},
	{
		ID: missingDependency, Severity: docs.Warning, Title: "the object needs one that the document doesn't create",
		Help: "The API server refuses this object, or the Pods made from it, as long as the object that it names isn't there. " +
			"Add it to the document, or say before the example that it has to be there. labctl has created it and judged the rest. " +
			"For a namespace it is a note. A namespace that exists by convention can be named in a mark: <!-- labctl: namespace: NAME -->.",
	},
	{
		ID: admissionRefused, Severity: docs.Warning, Title: "a policy that is in force refuses the object",
		Help: "The object is valid, but admission refuses it because of another object: the Pod Security level of its namespace, " +
			"a quota, a limit range, an admission policy or a webhook. If the document wants to show just that, say so: " +
			"<!-- labctl: expect: rejected reason=\"…\" -->.",
	},
	{
		ID: clusterDependent, Severity: docs.Warning, Title: "the value fits only some clusters",
		Help: "The address must lie in the range that a cluster was set up with, so the example works only in clusters that have " +
			"the same one. Leave the field out, or say which range the document assumes.",
	},
	{
		ID: removedAPI, Severity: docs.Error, Title: "the API has been removed from Kubernetes",
		Help: "The API server of this version doesn't serve this apiVersion any more. Change to the successor and compare the fields: " +
			"they may differ. Source: the deprecated API migration guide of the Kubernetes documentation.",
	},
	{
		ID: deprecatedAPI, Severity: docs.Warning, Title: "the API is deprecated",
		Help: "The API server still serves this, but warns that it is deprecated and names what to use.",
	},
	{
		ID: unservedAPI, Severity: docs.Warning, Title: "the API isn't served by default",
		Help: "For a built-in API: it exists in this version of Kubernetes, but is off unless it is enabled (--runtime-config), or it came " +
			"in a later version. For a custom resource: the CRD that is installed doesn't serve this version.",
	},
	{
		ID: unknownAPI, Severity: docs.Note, Title: "the API group is unknown to the API server",
		Help: "No CRD of this group is installed, so the object wasn't judged. That says nothing about the document. Give its CRDs with --crds.",
	},
	{
		ID: unknownKind, Severity: docs.Error, Title: "the API has no such kind",
		Help: "The group and version exist, but this kind isn't in them: it is misspelt, or belongs to another group. " +
			"For a group of custom resources it is a warning, since a CRD of it may not be installed.",
	},
	{
		ID: apiWarning, Severity: docs.Warning, Title: "the API server accepts the object with a warning",
		Help: "The API server accepted the object and sent this warning, as kubectl would print it.",
	},
	{
		ID: expectedRejection, Severity: docs.Error, Title: "the example is accepted, but a mark says that it is rejected",
		Help: "The mark \"expect: rejected\" says that an API server refuses the next example. It accepted all of its objects.",
	},
	{
		ID: namespaceMismatch, Severity: docs.Error, Title: "the object's namespace isn't that of the command",
		Help: "kubectl refuses an object whose namespace differs from the one that -n names.",
	},
	{
		ID: unknownTarget, Severity: docs.Warning, Title: "the mark \"after\" names no example",
		Help: "\"after: LINE\" names the example at a line of the same document (any of its lines), or one by the first digits (6 or more) of its hash.",
	},
	{
		ID: notJudged, Severity: docs.Note, Title: "the object was not judged by an API server",
		Help: "Without a throw-away API server nothing is created, so an object that needs another one of the document can't be judged; " +
			"neither can objects of a subresource, which a client sends to another object's URL, nor what is beyond labctl's limits.",
	},
}

// severities of the rules by id.
var severities = func() map[string]docs.Severity {
	m := make(map[string]docs.Severity, len(Rules))
	for _, r := range Rules {
		m[r.ID] = r.Severity
	}
	return m
}()
