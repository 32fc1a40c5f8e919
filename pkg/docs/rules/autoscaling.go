package rules

import (
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var autoscalingRules = []rule{
	{docs.Rule{
		ID: "hpa-without-requests", Severity: docs.Warning,
		Title: "an autoscaler by utilization of what the Pods don't request",
		Help:  "Utilization is a percentage of the containers' requests. If one container of the Pod has no request for the resource (a limit counts as one), the autoscaler reports FailedGetResourceMetric (\"missing request for cpu\") and never scales. Set requests on each container, or use a target of type AverageValue.",
	}, findHPARequests},
	{docs.Rule{
		ID: "hpa-target-missing", Severity: docs.Warning,
		Title: "an autoscaler for a workload that isn't there",
		Help:  "The example shows the autoscaler with workloads, but scaleTargetRef names none of the document: it reports FailedGetScale. apiVersion, kind and name must be those of the workload.",
	}, findHPATarget},
	{docs.Rule{
		ID: "pdb-blocks-all", Severity: docs.Warning,
		Title: "a PodDisruptionBudget that allows no eviction",
		Help:  "With minAvailable as high as the number of replicas no Pod may be evicted: kubectl drain waits for ever, and so do node upgrades. Set minAvailable lower, or maxUnavailable: 1.",
	}, findPDB},
}

const autoscalingGroup = "autoscaling"

// target gives the workloads that an autoscaler scales.
func (p *page) target(hpa *object) []*workload {
	ref := hpa.get("spec", "scaleTargetRef")
	return beside(hpa, p.named(ref.get("apiVersion").text(), ref.get("kind").text(), ref.get("name").text(), hpa))
}

// utilization is a metric that needs requests: of a resource, in all
// containers or in one.
type utilization struct {
	field
	resource, container string
}

func utilizations(hpa *object) []utilization {
	spec := hpa.get("spec")
	if cpu := spec.get("targetCPUUtilizationPercentage"); !cpu.empty() { // autoscaling/v1
		return []utilization{{cpu, "cpu", ""}}
	}
	var found []utilization
	for _, m := range spec.get("metrics").items() {
		var of field
		switch m.get("type").text() {
		case "Resource":
			of = m.get("resource")
		case "ContainerResource":
			of = m.get("containerResource")
		}
		if of.get("target", "type").text() == "Utilization" {
			found = append(found, utilization{of.get("name"), of.get("name").text(), of.get("container").text()})
		}
	}
	return found
}

func findHPARequests(p *page, s *sink) {
	if len(p.of("", "LimitRange")) > 0 {
		return // its defaults count
	}
	for _, hpa := range p.of(autoscalingGroup, "HorizontalPodAutoscaler") {
		targets := p.target(hpa)
		for _, u := range utilizations(hpa) {
			if len(targets) == 0 || slices.ContainsFunc(targets, func(w *workload) bool { return lacksRequest(w, u) == "" }) {
				continue
			}
			s.field(hpa, u.field, "container %s of %s requests no %s, so there is nothing to compute its utilization of and the autoscaler never scales", quote(lacksRequest(targets[0], u)), targets[0].String(), u.resource)
		}
	}
}

// lacksRequest gives the first container without the request, "" if none is.
func lacksRequest(w *workload, u utilization) string {
	if !w.pod.get("resources", "requests", u.resource).empty() || !w.pod.get("resources", "limits", u.resource).empty() {
		return ""
	}
	for _, c := range w.running() {
		name := c.get("name").text()
		if u.container != "" && u.container != name {
			continue
		}
		if c.get("resources", "requests", u.resource).empty() && c.get("resources", "limits", u.resource).empty() {
			return name
		}
	}
	return ""
}

func findHPATarget(p *page, s *sink) {
	for _, hpa := range p.of(autoscalingGroup, "HorizontalPodAutoscaler") {
		f := hpa.get("spec", "scaleTargetRef")
		workloadBeside := slices.ContainsFunc(p.workloads, func(w *workload) bool {
			return w.index == hpa.index && w.near(hpa) && w.Kind == f.get("kind").text()
		})
		if name := f.get("name"); workloadBeside && name.text() != "" && len(p.target(hpa)) == 0 && !open.MatchString(name.text()) {
			s.field(hpa, name, "the document has no %s %s of %s", f.get("kind").text(), quote(name.text()), f.get("apiVersion").text())
		}
	}
}

func findPDB(p *page, s *sink) {
	hpas := p.of(autoscalingGroup, "HorizontalPodAutoscaler")
	for _, o := range p.of("policy", "PodDisruptionBudget") {
		f := o.get("spec", "minAvailable")
		least, ok := f.number()
		by, _ := selects(o)
		if !ok || !by.known || by.everything() {
			continue
		}
		pods := beside(o, p.selected(o, by))
		total, fixed := 0, len(pods) > 0
		for _, w := range pods {
			total += w.replicas()
			fixed = fixed && w.Kind != "DaemonSet" && w.Kind != "Job" && w.Kind != "CronJob" && w.Kind != "Pod" &&
				!slices.ContainsFunc(hpas, func(hpa *object) bool { return slices.Contains(p.target(hpa), w) })
		}
		if fixed && total > 0 && least >= total {
			s.field(o, f, "%d of %d Pods must be available, so none may be evicted and kubectl drain waits for ever", least, total)
		}
	}
}
