package kubernetes

import (
	"context"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/utils/clock"
)

// valuePrefix is what stands before each stored value, in place of encryption.
const valuePrefix = "test!"

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(s))
	utilruntime.Must(examplev1.AddToScheme(s))
	return s
}()

var codec = apitesting.TestCodec(serializer.NewCodecFactory(scheme), examplev1.SchemeGroupVersion)

// transforms is the transformer of a store, which tests exchange while it is at rest.
type transforms struct {
	value.Transformer
}

// apiStorage is the API server's own store of pods, on a server of its own.
type apiStorage struct {
	storage.Interface
	client     *kubernetes.Client
	compactor  etcd3.Compactor
	transforms *transforms
}

func newStorage(t testing.TB, args ...string) *apiStorage {
	t.Helper()
	client := connect(t, startServer(t, args...))
	compactor := etcd3.NewCompactor(client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	s := &apiStorage{
		client: client, compactor: compactor,
		transforms: &transforms{storagetesting.NewPrefixTransformer([]byte(valuePrefix), false)},
	}
	leases := etcd3.NewDefaultLeaseManagerConfig()
	leases.ReuseDurationSeconds = 1 // an object's end is waited for
	versioner := storage.APIObjectVersioner{}
	store, err := etcd3.New(client, compactor, codec,
		func() runtime.Object { return &example.Pod{} }, func() runtime.Object { return &example.PodList{} },
		"", "/pods/", schema.GroupResource{Resource: "pods"}, s.transforms, leases,
		etcd3.NewDefaultDecoder(codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	s.Interface = store
	return s
}

// UpdatePrefixTransformer exchanges the transformer until the function that it gives is called.
func (s *apiStorage) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	original := s.transforms.Transformer
	changed := *original.(*storagetesting.PrefixTransformer)
	s.transforms.Transformer = modify(&changed)
	return func() { s.transforms.Transformer = original }
}

// increase makes the revision grow by one with a key that is no pod.
func (s *apiStorage) increase(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	r, err := s.client.KV.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// compact compacts as every API server does by itself: who first counts up the key of compactions, compacts.
func (s *apiStorage) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	version, _, _, err := etcd3.Compact(ctx, s.client.Client, 0, int64(revision))
	if err == nil && version > 1 { // another came first, and told its count
		_, _, _, err = etcd3.Compact(ctx, s.client.Client, version, int64(revision))
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store has seen the compaction", func() bool {
		return s.compactor.CompactRevision() == int64(revision)
	})
}

// decodes checks that what is stored under a key is a pod without what only answers carry.
func (s *apiStorage) decodes(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	r, err := s.client.KV.Get(ctx, key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%s: %v, %v", key, r, err)
	}
	object, err := runtime.Decode(codec, r.Kvs[0].Value[len(valuePrefix):])
	if err != nil {
		t.Fatal(err)
	}
	if pod := object.(*example.Pod); pod.ResourceVersion != "" {
		t.Errorf("stored with the version %q", pod.ResourceVersion)
	}
}

// uncounted takes every number of reads: it is the API server's affair, and the same whoever serves it.
func uncounted(*testing.T, uint64, uint64) {}
