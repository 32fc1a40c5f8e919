package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The keys of kube-apiserver in etcd (--etcd-prefix, /registry).
const (
	registry       = "/registry/"
	namespaceKeys  = registry + "namespaces/"
	quotaKeys      = registry + "resourcequotas/"
	crdKeys        = registry + "apiextensions.k8s.io/customresourcedefinitions/"
	apiServiceKeys = registry + "apiregistration.k8s.io/apiservices/"
)

// heartbeats are keys that kube-apiserver renews by itself: its leases.
var heartbeats = []string{registry + "masterleases/", registry + "peerserverleases/", registry + "leases/kube-system/apiserver-"}

// automanaged is the label of the APIServices that kube-apiserver makes for
// CRDs, and removes after them
// (k8s.io/kube-aggregator/pkg/controllers/autoregister).
const automanaged = "kube-aggregator.kubernetes.io/automanaged"

// marker is a key of labctl's own: in a watch, its change comes behind all
// earlier ones.
const marker = "/labctl/marker"

// store is the etcd behind the API server, and what has changed in it.
type store struct {
	client *clientv3.Client
	watch  clientv3.WatchChan
	end    context.CancelFunc // of the watch
	// base is the revision of the base state, 0 if there is none.
	base int64
	// ours are the revisions of resets, which are no changes.
	ours map[int64]bool
	// changed has each key that has changed since base; the value is whether
	// kube-apiserver manages it by itself.
	changed map[string]bool
}

func open(socket string) (*store, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:          []string{"unix://" + socket},
		DialTimeout:        patience,
		MaxCallSendMsgSize: maxRequest,
		Logger:             zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return &store{client: client, end: func() {}}, nil
}

func (s *store) close() error {
	s.end()
	return s.client.Close()
}

// begin makes the present state the base state.
func (s *store) begin(ctx context.Context) error {
	r, err := s.client.Get(ctx, marker)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	s.end()
	var watching context.Context
	watching, s.end = context.WithCancel(context.Background())
	s.base, s.ours, s.changed = r.Header.Revision, map[int64]bool{}, map[string]bool{}
	s.watch = s.client.Watch(watching, "", clientv3.WithPrefix(), clientv3.WithRev(s.base+1))
	return nil
}

// collect adds all changes up to now to s.changed; fresh are the keys that
// have changed since the last time.
func (s *store) collect(ctx context.Context) (fresh []string, err error) {
	put, err := s.client.Put(ctx, marker, "")
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	keys := map[string]bool{}
	for seen := int64(0); seen < put.Header.Revision; {
		select {
		case r, ok := <-s.watch:
			if !ok {
				return nil, errors.New("etcd's watch has ended")
			}
			if err := r.Err(); err != nil {
				return nil, fmt.Errorf("etcd's watch: %w", err)
			}
			for _, e := range r.Events {
				seen = e.Kv.ModRevision
				key := string(e.Kv.Key)
				if s.ours[seen] || !isState(key) {
					continue
				}
				keys[key] = true
				s.changed[key] = s.changed[key] || strings.HasPrefix(key, apiServiceKeys) && bytes.Contains(e.Kv.Value, []byte(automanaged))
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("etcd's watch: %w", ctx.Err())
		}
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

// isState says that a key is a part of the state that documents can see.
func isState(key string) bool {
	return strings.HasPrefix(key, registry) && !sentinelKeys[key] &&
		!slices.ContainsFunc(heartbeats, func(p string) bool { return strings.HasPrefix(key, p) })
}

// atBase gives the values of keys in the base state; those that weren't there
// are missing.
func (s *store) atBase(ctx context.Context, keys []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for chunk := range slices.Chunk(keys, maxOps) {
		var gets []clientv3.Op
		for _, k := range chunk {
			gets = append(gets, clientv3.OpGet(k, clientv3.WithRev(s.base)))
		}
		r, err := s.client.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		for _, one := range r.Responses {
			for _, kv := range one.GetResponseRange().Kvs {
				out[string(kv.Key)] = kv.Value
			}
		}
	}
	return out, nil
}

// commit writes changes. As with kube-apiserver's own, a revision changes one
// object of a kind: its watch caches take the revision of an event for that of
// the whole kind.
func (s *store) commit(ctx context.Context, ops []clientv3.Op) error {
	for _, round := range rounds(ops) {
		r, err := s.client.Txn(ctx).Then(round...).Commit()
		if err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		s.ours[r.Header.Revision] = true
	}
	return nil
}

// rounds puts the first change of each kind or API group into the first round,
// the second into the second, and so on.
func rounds(ops []clientv3.Op) [][]clientv3.Op {
	var out [][]clientv3.Op
	count := map[string]int{}
	for _, op := range ops {
		kind, _, _ := strings.Cut(strings.TrimPrefix(string(op.KeyBytes()), registry), "/")
		n := count[kind]
		count[kind]++
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], op)
	}
	return out
}

// undo gives what brings the base state back; wait are the keys that
// kube-apiserver itself will bring back, and whether they were there.
func (s *store) undo(ctx context.Context) (ops []clientv3.Op, wait map[string]bool, err error) {
	keys := slices.Sorted(maps.Keys(s.changed))
	before, err := s.atBase(ctx, keys)
	if err != nil {
		return nil, nil, err
	}
	wait = map[string]bool{}
	for _, k := range keys {
		value, was := before[k]
		switch {
		case s.changed[k] || strings.HasPrefix(k, apiServiceKeys) && bytes.Contains(value, []byte(automanaged)):
			wait[k] = was
		case !was:
			ops = append(ops, clientv3.OpDelete(k))
		case strings.HasPrefix(k, crdKeys):
			ops = append(ops, clientv3.OpPut(k, string(renewed(value))))
		default:
			ops = append(ops, clientv3.OpPut(k, string(value)))
		}
	}
	return ops, wait, nil
}

// renewed gives a CRD another UID: the API server's handlers of custom
// resources are kept by UID, so one of the changed CRD is never taken for one
// of the restored CRD (k8s.io/apiextensions-apiserver, crdHandler).
func renewed(value []byte) []byte {
	c, err := readCRD(value)
	if err != nil || c.Metadata.UID == "" {
		return value
	}
	return bytes.ReplaceAll(value, []byte(c.Metadata.UID), []byte(uuid.NewString()))
}

// appear waits until each key is there or gone, as its value says.
func (s *store) appear(ctx context.Context, keys map[string]bool) error {
	for k, want := range keys {
		err := retry(ctx, func() (bool, error) {
			r, err := s.client.Get(ctx, k, clientv3.WithCountOnly())
			if err != nil {
				return false, fmt.Errorf("etcd: %w", err)
			}
			return r.Count > 0 == want, nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

// retry asks again and again, quickly, until it is done.
func retry(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// settling is how long the API server may take to see what etcd has.
const settling = 30 * time.Second

// state is what a Server knows of its state.
type state struct {
	mu sync.Mutex
	*store
	epoch *epoch
}
