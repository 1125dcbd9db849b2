package kubernetes

import (
	"context"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// contract is what Kubernetes asks of a store of its API server, in its own words: the tests that it runs on etcd.
var contract = []struct {
	name string
	run  func(context.Context, *testing.T, *apiStorage)
}{
	{"create", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestCreate(ctx, t, s, s.decodes)
	}},
	{"create with a time to live", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestCreateWithTTL(ctx, t, s) }},
	{"create what is there", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestCreateWithKeyExist(ctx, t, s)
	}},
	{"get", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestGet(ctx, t, s) }},
	{"delete", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestUnconditionalDelete(ctx, t, s)
	}},
	{"delete with preconditions", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestConditionalDelete(ctx, t, s)
	}},
	{"delete with a suggestion", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDeleteWithSuggestion(ctx, t, s)
	}},
	{"delete with a suggestion that is old", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDeleteWithSuggestionAndConflict(ctx, t, s)
	}},
	{"delete with a conflict", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDeleteWithConflict(ctx, t, s)
	}},
	{"delete what is deleted", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDeleteWithSuggestionOfDeletedObject(ctx, t, s)
	}},
	{"validate before a delete", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestValidateDeletionWithSuggestion(ctx, t, s)
	}},
	{"validate before a delete, a suggestion alone", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestValidateDeletionWithOnlySuggestionValid(ctx, t, s)
	}},
	{"preconditions and a suggestion", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestPreconditionalDeleteWithSuggestion(ctx, t, s)
	}},
	{"preconditions that only a suggestion meets", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass(ctx, t, s)
	}},
	{"guaranteed update", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGuaranteedUpdate(ctx, t, s, s.decodes)
	}},
	{"guaranteed update with a time to live", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGuaranteedUpdateWithTTL(ctx, t, s)
	}},
	{"guaranteed update looks at what is stored", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGuaranteedUpdateChecksStoredData(ctx, t, s)
	}},
	{"guaranteed update with a conflict", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGuaranteedUpdateWithConflict(ctx, t, s)
	}},
	{"guaranteed update with a suggestion that is old", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict(ctx, t, s)
	}},
	{"list", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestList(ctx, t, s, s.compact, false, s.client.Kubernetes.(*storagetesting.KubernetesRecorder))
	}},
	{"list consistently", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestConsistentList(ctx, t, s, s.increase, false, true, false)
	}},
	{"list one", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGetListNonRecursive(ctx, t, s.increase, s)
	}},
	{"list a prefix", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestGetListRecursivePrefix(ctx, t, s)
	}},
	{"list a namespace", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestNamespaceScopedList(ctx, t, s)
	}},
	{"list in pages", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestListPaging(ctx, t, s) }},
	{"list goes on from a token", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestListContinuation(ctx, t, s, uncounted)
	}},
	{"list goes on with a filter", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestListContinuationWithFilter(ctx, t, s, uncounted)
	}},
	{"list in pages for what is rare", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestListPaginationRareObject(ctx, t, s, uncounted)
	}},
	{"list goes on after a compaction", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestListInconsistentContinuation(ctx, t, s, s.compact)
	}},
	{"list at a version", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestListResourceVersionMatch(ctx, t, s)
	}},
	{"values that cannot be read", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestTransformationFailure(ctx, t, s)
	}},
	{"compactions of others are seen", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestCompactRevision(ctx, t, s, s.increase, s.compact)
	}},
	{"keys", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestKeySchema(ctx, t, s) }},

	{"watch", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestWatch(ctx, t, s) }},
	{"watch what has no namespace", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestClusterScopedWatch(ctx, t, s)
	}},
	{"watch a namespace", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestNamespaceScopedWatch(ctx, t, s)
	}},
	{"watch a delete", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDeleteTriggerWatch(ctx, t, s)
	}},
	{"watch from version 0", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatchFromZero(ctx, t, s, s.compact)
	}},
	{"watch from a version", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatchFromNonZero(ctx, t, s)
	}},
	{"watch slowly", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestDelayedWatchDelivery(ctx, t, s)
	}},
	{"watch and fail to read", func(ctx context.Context, t *testing.T, s *apiStorage) { storagetesting.RunTestWatchError(ctx, t, s) }},
	{"watch and fail to read once", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunWatchErrorIsBlockingFurtherEvents(ctx, t, s)
	}},
	{"watch until canceled", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatchContextCancel(ctx, t, s)
	}},
	{"watch until a time", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatcherTimeout(ctx, t, s)
	}},
	{"a delete's event has its own version", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV(ctx, t, s)
	}},
	{"a watch says that it has begun", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunTestWatchInitializationSignal(ctx, t, s)
	}},
	{"watch with the state first, old clients", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunSendInitialEventsBackwardCompatibility(ctx, t, s)
	}},
	{"watch with the state first", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunWatchSemantics(ctx, t, s)
	}},
	{"watch with the state first, more", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunWatchSemanticInitialEventsExtended(ctx, t, s)
	}},
	{"watch one with the state first", func(ctx context.Context, t *testing.T, s *apiStorage) {
		storagetesting.RunWatchListMatchSingle(ctx, t, s)
	}},
}

// alone are those that cannot run beside others: they set a switch that all see, or have an object that ends soon.
var alone = map[string]bool{
	"get": true, "watch with the state first, old clients": true, "watch with the state first": true,
	"watch with the state first, more": true, "watch one with the state first": true,
}

// Pages by Range and lists by RangeStream are two ways to read, and Kubernetes has both.
func TestKubernetesKeepsItsObjectsAsOnEtcd(t *testing.T) {
	for _, way := range []struct {
		name   string
		stream bool
	}{{"pages", false}, {"streams", true}} {
		t.Run(way.name, func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, way.stream)
			for _, c := range contract {
				t.Run(c.name, func(t *testing.T) {
					if !alone[c.name] {
						t.Parallel() // most of them wait
					}
					c.run(context.Background(), t, newStorage(t))
				})
			}
		})
	}
}

// eventually polls for what tells nobody that it has come.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
