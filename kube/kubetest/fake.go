package kubetest

import (
	"slices"

	"github.com/cuppa-project/cuppa/kube"
)

// Under keeps the objects that an index finds under a key, by looking at all of them: what a fake's Source.By may do.
func Under(objs []kube.Object, index *kube.Index, key string) []kube.Object {
	return slices.DeleteFunc(objs, func(obj kube.Object) bool { return !slices.Contains(index.Keys(obj), key) })
}
