//go:build tools

// Package upstream pins what the conformance suite is built of: Kubernetes' own tests and the programs of the images that they run.
//
// It is a module of its own, so that the product neither imports nor downloads k8s.io/kubernetes. There is no code here: the table
// in test/conformance/programs.go says which of these packages become which program.
package upstream

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/resource-consumer/consume-cpu"
	_ "k8s.io/sample-apiserver"
)
