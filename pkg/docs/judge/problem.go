package judge

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// problem is one thing that is wrong with one object.
type problem struct {
	rule string
	// severity is that of the rule if it is "".
	severity docs.Severity
	// field is the path inside the object, "" for the object as a whole.
	field   string
	message string
	// onKey says that the key is meant, not what stands under it.
	onKey bool
}

// refusal is what an answer of the API server says, and so what to do next.
type refusal int

const (
	invalid    refusal = iota // its problems are all there is to say
	strictness                // unknown fields: the rest is seen without strictness
	undecoded                 // a field can't be read: the rest is seen without it
	preset                    // a field that only the server sets
	missing                   // an object that it needs isn't there
	exists                    // the object is there already
)

// answer is an API server's refusal of an object, understood.
type answer struct {
	kind     refusal
	problems []problem
	needs    dependency
}

var (
	// k8s.io/apimachinery/pkg/runtime: NewStrictDecodingError.
	strictPrefix = "strict decoding error: "
	strictItem   = regexp.MustCompile(`(unknown|duplicate) field "((?:[^"\\]|\\.)*)"`)
	// k8s.io/apiserver/pkg/endpoints/handlers: transformDecodeError.
	cannotHandle = regexp.MustCompile(`^.* in version ".*" cannot be handled as an? [^:]+: `)
	// sigs.k8s.io/json: UnmarshalTypeError.
	goField = regexp.MustCompile(`Go struct field [^ .]+\.([^ ]+) of type`)
	// k8s.io/kube-openapi/pkg/validation/errors: InvalidType.
	ofType = regexp.MustCompile(`^Invalid value: "(\w+)": must be of type (\w+): "\w+"$`)
	// k8s.io/kubernetes/pkg/registry/core/service: the families and the range of
	// addresses that flags set. That of node ports is the same nearly everywhere.
	otherRange = regexp.MustCompile(`not in the valid range\. The range of valid IPs is|does not match the current range|not configured on this cluster`)
	// Admission plug-ins that judge an object by others: PodSecurity,
	// ResourceQuota, LimitRanger, admission policies and webhooks.
	policy = regexp.MustCompile(`violates PodSecurity|exceeded quota|failed quota|status unknown for quota|usage per (Container|Pod|PersistentVolumeClaim)|ValidatingAdmissionPolicy|admission webhook`)
)

// understand reads what an API server answers to a create. err must be an
// API status.
func understand(err error) answer {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return answer{problems: []problem{{rule: apiRejected, message: oneLine(err.Error())}}}
	}
	s := status.Status()
	if needs, ok := dependencyOf(s); ok {
		return answer{kind: missing, needs: needs}
	}
	switch {
	case s.Reason == metav1.StatusReasonAlreadyExists:
		return answer{kind: exists}
	case strings.Contains(s.Message, strictPrefix):
		return answer{kind: strictness, problems: unknownFields(s.Message)}
	case strings.Contains(s.Message, "resourceVersion should not be set"):
		return answer{kind: preset, problems: []problem{{
			rule: serverSetField, field: "metadata.resourceVersion", onKey: true, message: "metadata.resourceVersion: " + s.Message,
		}}}
	case s.Reason == metav1.StatusReasonBadRequest && cannotHandle.MatchString(s.Message):
		p := problem{rule: wrongType, message: oneLine(cannotHandle.ReplaceAllString(s.Message, ""))}
		if m := goField.FindStringSubmatch(s.Message); m != nil {
			p.field = m[1]
		}
		return answer{kind: undecoded, problems: []problem{p}}
	case s.Reason == metav1.StatusReasonInvalid && s.Details != nil && len(s.Details.Causes) > 0:
		return answer{problems: causes(s)}
	case policy.MatchString(s.Message):
		return answer{problems: []problem{{rule: admissionRefused, message: oneLine(s.Message)}}}
	}
	return answer{problems: []problem{{rule: apiRejected, field: forbiddenField(s.Message), message: oneLine(s.Message)}}}
}

func unknownFields(message string) []problem {
	_, list, _ := strings.Cut(message, strictPrefix)
	var found []problem
	for _, m := range strictItem.FindAllStringSubmatch(list, -1) {
		if m[1] == "unknown" { // duplicates are a rule of their own, which sees the text
			found = append(found, problem{rule: unknownField, field: m[2], onKey: true, message: fmt.Sprintf("unknown field %q", m[2])})
		}
	}
	if found == nil && !strings.Contains(list, "duplicate field") {
		found = []problem{{rule: unknownField, message: oneLine(list)}}
	}
	return found
}

// causes gives the problems of an object that is invalid.
func causes(s metav1.Status) []problem {
	var found []problem
	seen := map[string]bool{}
	for _, c := range s.Details.Causes {
		// Words of apiextensions-apiserver about its own work.
		if strings.Contains(c.Message, "some validation rules were not checked because") && len(s.Details.Causes) > 1 {
			continue
		}
		p := problem{rule: apiRejected, field: strings.TrimPrefix(c.Field, "<nil>"), message: trimValue(oneLine(c.Message))}
		// A validation error of a custom resource names its field twice, and the
		// type as if it were the value.
		p.message = strings.Replace(p.message, p.field+" in body ", "", 1)
		if c.Type == metav1.CauseTypeTypeInvalid {
			p.rule = wrongType
			p.message = ofType.ReplaceAllString(p.message, "it is of type $1 and must be of type $2")
		}
		if otherRange.MatchString(c.Message) {
			p.rule = clusterDependent
		}
		if p.field != "" {
			p.message = p.field + ": " + p.message
		}
		if key := p.field + "\x00" + p.message; !seen[key] {
			seen[key] = true
			found = append(found, p)
		}
	}
	return settled(found)
}

// settled leaves out problems of the status, which nobody writes: they follow
// from the others.
func settled(all []problem) []problem {
	var spec []problem
	for _, p := range all {
		if !strings.HasPrefix(p.field, "status.") {
			spec = append(spec, p)
		}
	}
	if len(spec) == 0 {
		return all
	}
	return spec
}

const required = "Required value"

// below says that a path leads further than another one.
func below(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && rest != "" && strings.ContainsRune(".[", rune(rest[0]))
}

// absent says that a problem is that a field isn't there.
func (p problem) absent(manifest map[string]any) bool {
	return p.rule == apiRejected && p.field != "" && at(manifest, p.field) == nil &&
		(strings.Contains(p.message, required) || nothing.MatchString(p.message))
}

// distinct leaves out what says the same mistake again: unknown fields of what
// is of a wrong type. Fields that one structure lacks make one problem.
func distinct(all []problem, manifest map[string]any) []problem {
	var kept []problem
	lacking := map[string]int{} // index into kept, by the structure
	for _, p := range all {
		if p.rule == unknownField && slices.ContainsFunc(all, func(other problem) bool {
			return other.rule == wrongType && below(p.field, other.field)
		}) {
			continue
		}
		if p.absent(manifest) {
			p.rule = missingField
			structure := p.field
			for structure != "" && at(manifest, structure) == nil {
				structure = structure[:max(strings.LastIndexAny(structure, ".["), 0)]
			}
			if k, ok := lacking[structure]; ok {
				kept[k].message += "; " + p.message
				continue
			}
			lacking[structure] = len(kept)
		}
		kept = append(kept, p)
	}
	return kept
}

// forbiddenFields are the fields that admission plug-ins speak of without
// naming them.
var forbiddenFields = []struct{ words, field string }{
	{"is not permitted in", "spec.priorityClassName"},
	{"the integer value of priority", "spec.priority"},
	{"Pod's Overhead", "spec.overhead"},
	{"overhead", "spec.overhead"},
	{"runtimeClass.Scheduling.NodeSelector", "spec.nodeSelector"},
	{"already globally default", "globalDefault"},
	{"already marked as default", "globalDefault"},
}

func forbiddenField(message string) string {
	for _, f := range forbiddenFields {
		if strings.Contains(message, f.words) {
			return f.field
		}
	}
	return ""
}

var (
	// The value at the start of a message, as JSON, or as Go by API servers
	// before 1.34: "Invalid value: …: why".
	dumped = regexp.MustCompile(`^(Invalid value|Duplicate value): ([\w.*&\[\]]*[{\[(].*[}\])])(: |$)`)
	// A value that isn't there, as JSON or as Go.
	nothing = regexp.MustCompile(`Invalid value: (?:null|[\w.*\[\]]+\(nil\))`)
)

// trimValue leaves out a value of which the API server prints all fields.
func trimValue(message string) string {
	m := dumped.FindStringSubmatchIndex(message)
	if m == nil || m[5]-m[4] <= 80 {
		return message
	}
	if m[6] == m[7] {
		return message[m[2]:m[3]]
	}
	return message[m[2]:m[3]] + message[m[6]:]
}

var (
	// k8s.io/apimachinery/pkg/util/validation: RegexError, after its examples.
	expression = regexp.MustCompile(`,? ?regex used for validation is '.*?'\)`)
	// k8s.io/kubernetes/pkg/apis/core/validation: what an update may change.
	exceptions = regexp.MustCompile("(updates may not change fields) other than .*")
)

// oneLine keeps a message's first line: what follows is a difference of
// internal structures, or a picture of an expression.
func oneLine(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	line = expression.ReplaceAllString(line, ")")
	line = exceptions.ReplaceAllString(line, "$1")
	const most = 600
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return strings.TrimSpace(line)
}

// value of a message that names one: `Invalid value: "x": …`.
var named = regexp.MustCompile(`(?:Invalid value|Unsupported value|Duplicate value|Not found|Forbidden): "((?:[^"\\]|\\.)*)"`)

// valueIn gives the string that a message is about.
func valueIn(message string) (string, bool) {
	if m := named.FindStringSubmatch(message); m != nil {
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[1]), true
	}
	return "", false
}
