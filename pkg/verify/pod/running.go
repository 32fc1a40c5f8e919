package pod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// running is one Pod in the cluster, made by this process.
type running struct {
	kube    kubernetes.Interface
	life    life
	removed bool
}

// ask creates the Pod.
func ask(ctx context.Context, kube kubernetes.Interface, pod *corev1.Pod) (*running, error) {
	r := &running{kube: kube}
	r.life.asked = time.Now()
	created, err := kube.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{FieldManager: "labctl"})
	if err != nil {
		return nil, fmt.Errorf("create a Pod in namespace %s: %w", pod.Namespace, err)
	}
	r.life.see(created, time.Now())
	return r, nil
}

// rewatchAfter keeps a watch that ends at once from becoming a busy loop.
const rewatchAfter = 200 * time.Millisecond

// follow feeds the Pod's life until done says so, or the Pod is gone.
func (r *running) follow(ctx context.Context, done func(*life) bool) error {
	pods := r.kube.CoreV1().Pods(r.life.pod.Namespace)
	// Events come late and in no order with the Pod's status: ask now and then.
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for !done(&r.life) {
		// From the last state seen on, so that nothing is missed in between.
		w, err := pods.Watch(ctx, metav1.ListOptions{
			FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, r.life.pod.Name).String(),
			ResourceVersion: r.life.pod.ResourceVersion,
		})
		switch {
		case err == nil:
			stop, err := r.drain(ctx, w, tick.C, done)
			w.Stop()
			if stop || err != nil {
				return err
			}
		case !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err):
			return over(ctx, fmt.Errorf("watch the Pod: %w", err))
		}
		current, err := pods.Get(ctx, r.life.pod.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && current.UID != r.life.pod.UID:
			r.life.gone = time.Now()
			return nil
		case err != nil:
			return over(ctx, fmt.Errorf("get the Pod: %w", err))
		}
		r.life.see(current, time.Now())
		select {
		case <-ctx.Done():
			return over(ctx, ctx.Err())
		case <-time.After(rewatchAfter):
		}
	}
	return nil
}

// drain feeds from one watch; stop is false when the server ended it.
func (r *running) drain(ctx context.Context, w watch.Interface, tick <-chan time.Time, done func(*life) bool) (stop bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, over(ctx, ctx.Err())
		case <-tick:
			if err := r.readWarnings(ctx); err != nil {
				return false, over(ctx, err)
			}
		case e, open := <-w.ResultChan():
			now := time.Now()
			pod, ok := e.Object.(*corev1.Pod)
			switch {
			case !open || e.Type == watch.Error:
				return false, nil
			case !ok || pod.UID != r.life.pod.UID:
				continue
			case e.Type == watch.Deleted:
				r.life.gone = now
				return true, nil
			}
			r.life.see(pod, now)
		}
		if done(&r.life) {
			return true, nil
		}
	}
}

// over returns why ctx ended, or err where it hasn't.
func over(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *running) readWarnings(ctx context.Context) error {
	list, err := r.kube.CoreV1().Events(r.life.pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(r.life.pod.UID), "type": corev1.EventTypeWarning}.String(),
	})
	if err != nil {
		return fmt.Errorf("list the Pod's events: %w", err)
	}
	r.life.warnings = list.Items
	return nil
}

// maxLog is the most of a log that is read: a report is a few kilobytes.
const maxLog = 4 << 20

func (r *running) openLog(ctx context.Context, follow bool) (io.ReadCloser, error) {
	limit := int64(maxLog)
	stream, err := r.kube.CoreV1().Pods(r.life.pod.Namespace).GetLogs(r.life.pod.Name, &corev1.PodLogOptions{
		Container: mainContainer, Follow: follow, LimitBytes: &limit,
	}).Stream(ctx)
	if err != nil {
		return nil, over(ctx, fmt.Errorf("read the log: %w", err))
	}
	return stream, nil
}

// log returns the main container's whole log.
func (r *running) log(ctx context.Context) ([]byte, error) {
	stream, err := r.openLog(ctx, false)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return nil, over(ctx, fmt.Errorf("read the log: %w", err))
	}
	return b, nil
}

// logUntil follows the main container's log up to the line that found takes,
// or the log's end.
func (r *running) logUntil(ctx context.Context, found func(line []byte) bool) ([]byte, error) {
	stream, err := r.openLog(ctx, true)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		b.Write(line)
		if err == io.EOF || found(line) {
			break
		}
		if err != nil {
			_ = stream.Close() // the read error says more
			return nil, over(ctx, fmt.Errorf("read the log: %w", err))
		}
	}
	_ = stream.Close() // all that is wanted has been read
	return b.Bytes(), nil
}

const (
	// goneWithin is how long a deleted Pod may take to be gone: its grace
	// period is 1 s, kubelet's own cleaning a few more.
	goneWithin = 60 * time.Second
	// discardWithin is for the deletion after a failure or Ctrl-C, which
	// isn't waited for.
	discardWithin = 3 * time.Second
	// explainWithin is for what an error wants to add.
	explainWithin = 2 * time.Second
)

// remove deletes the Pod and waits until it is gone.
func (r *running) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goneWithin, fmt.Errorf("it is deleted and not gone after %s", goneWithin))
	defer cancel()
	r.life.deletion = time.Now()
	if err := r.delete(ctx); err != nil {
		return fmt.Errorf("delete Pod %s/%s: %w", r.life.pod.Namespace, r.life.pod.Name, over(ctx, err))
	}
	r.removed = true
	never := func(*life) bool { return false }
	if err := r.follow(ctx, never); err != nil {
		return r.explain(ctx, err)
	}
	return nil
}

// discard deletes the Pod if remove hasn't, also when ctx is over, and
// doesn't wait.
func (r *running) discard(ctx context.Context) {
	if r.removed {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWithin)
	defer cancel()
	// An error is on its way to the caller already, and the namespace of the
	// lab is deleted as a whole at the end.
	_ = r.delete(ctx)
}

func (r *running) delete(ctx context.Context) error {
	uid := r.life.pod.UID
	err := r.kube.CoreV1().Pods(r.life.pod.Namespace).Delete(ctx, r.life.pod.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// explain adds to an error how the Pod stands. Untestable stays what it is.
func (r *running) explain(ctx context.Context, err error) error {
	var untestable *evidence.Untestable
	if errors.As(err, &untestable) || errors.Is(err, context.Canceled) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainWithin)
	defer cancel()
	_ = r.readWarnings(ctx) // what can't be had is left out
	var log []byte
	if r.life.containerID() != "" {
		log, _ = r.log(ctx) // as above
	}
	return fmt.Errorf("%w\n  %s", err, r.life.describe(log))
}
