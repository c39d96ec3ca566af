package kubelet

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/evict"
	"github.com/cuppa-project/cuppa/kubelet/image"
	"github.com/cuppa-project/cuppa/kubelet/node"
	"github.com/cuppa-project/cuppa/kubelet/objects"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/podworker"
	"github.com/cuppa-project/cuppa/kubelet/probe"
	"github.com/cuppa-project/cuppa/kubelet/server"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

// Kubelet is the agent of one node.
type Kubelet struct {
	config  Config
	metrics *metrics
}

// New checks a Config and returns the agent. It touches nothing yet.
func New(config Config) (*Kubelet, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	return &Kubelet{config: config, metrics: newMetrics()}, nil
}

// Run takes care of the node until ctx ends. Containers go on running after that, and are found again by the next Run; their logs
// and exit codes are kept by the runtime meanwhile.
func (k *Kubelet) Run(ctx context.Context) error {
	if err := k.config.makeDirs(); err != nil {
		return fmt.Errorf("make the kubelet's directories: %w", err)
	}
	runtimeName, runtimeVersion, err := k.waitForRuntime(ctx)
	if err != nil {
		return err
	}
	facts := k.facts(runtimeName, runtimeVersion)
	recorder := events.New(events.Config{Cluster: k.config.Cluster, Component: "kubelet", Host: k.config.NodeName, Logger: k.config.Logger})
	deps, err := k.deps(facts, runtimeName, recorder)
	if err != nil {
		return err
	}
	pool := podworker.NewPool(deps)
	k.metrics.pods = pool.Pods
	agent, err := node.New(node.Config{
		Name: k.config.NodeName, Cluster: k.config.Cluster, Runtime: k.config.Runtime, Images: k.config.Images, Facts: facts,
		DataDir: k.config.DataDir, Synced: pool.Synced(), Logger: k.config.Logger,
	})
	if err != nil {
		return err
	}
	parts := []run.Func{recorder.Run, pool.Run, agent.Run, k.evictions(deps, pool).Run}
	if k.config.ServerAddr != noServer {
		door, err := k.server(pool)
		if err != nil {
			return err
		}
		parts = append(parts, door.Run)
	}
	return run.Group(ctx, parts...)
}

// waitForRuntime asks who the runtime is, until it answers.
func (k *Kubelet) waitForRuntime(ctx context.Context) (name, version string, err error) {
	const again = 200 * time.Millisecond
	for {
		answer, err := k.config.Runtime.Version(ctx, "v1")
		if err == nil {
			return answer.RuntimeName, answer.RuntimeVersion, nil
		}
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		k.config.Logger.Warn("waiting for the container runtime", "err", err)
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return "", "", ctx.Err()
		}
	}
}

func (k *Kubelet) facts(runtimeName, runtimeVersion string) node.Facts {
	c := &k.config
	facts := node.Facts{
		Labels: c.labels(), Taints: c.Taints, IPs: c.NodeIPs, Port: serverPort(c.ServerAddr), PodCIDR: c.PodCIDR,
		Capacity: c.Capacity, Reserved: c.Reserved, Info: node.Info(c.Version, runtimeName+"://"+runtimeVersion),
	}
	if facts.Capacity == nil {
		facts.Capacity = node.Capacity(c.DataDir, c.MaxPods)
	}
	if facts.Reserved == nil {
		facts.Reserved = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi")}
	}
	return facts
}

func (k *Kubelet) deps(facts node.Facts, runtimeName string, recorder *events.Recorder) (*podworker.Deps, error) {
	c := &k.config
	reader := objects.New(c.Cluster, c.Logger)
	volumes, err := volume.New(volume.Config{
		DataRoot: c.podsDir(), RunRoot: filepath.Join(c.RunDir, "pods"), Source: reader, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	memory := facts.Capacity[corev1.ResourceMemory]
	deps := &podworker.Deps{
		Runtime: c.Runtime, Cluster: c.Cluster, Images: &image.Puller{Images: c.Images, Source: reader}, Volumes: volumes,
		Objects: reader, Events: recorder, Probes: probe.Handler{Runtime: c.Runtime}, NodeName: c.NodeName, Logger: c.Logger,
		Node: criconfig.Node{
			CgroupRoot: c.CgroupRoot, LogRoot: c.logDir(), ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
			ResolvConf: hostResolvConf(c.ResolvConf), MemoryCapacity: memory.Value(), LimitCPU: !c.NoCPUQuota,
		},
		Around: podworker.Surroundings{HostIPs: c.NodeIPs, RuntimeName: runtimeName}, Allocatable: node.Allocatable(facts),
		Measure: k.metrics.observe,
	}
	if c.Extender != nil {
		deps.Extender = c.Extender
	}
	return deps, nil
}

func (k *Kubelet) server(pool *podworker.Pool) (*server.Server, error) {
	c := &k.config
	config := server.Config{
		Addr: c.ServerAddr, TLS: c.ServerTLS, Pods: pool, Runtime: c.Runtime, Images: c.Images, NodeName: c.NodeName, DataDir: c.DataDir,
		Metrics: http.HandlerFunc(k.metrics.serve), Restarts: restarts, Logger: c.Logger,
	}
	if c.Streamer != nil {
		config.Streamer = c.Streamer
	}
	return server.New(config)
}

// evictions gives up pods when they, or the node, use too much.
func (k *Kubelet) evictions(deps *podworker.Deps, pool *podworker.Pool) *evict.Watcher {
	return &evict.Watcher{Config: evict.Config{
		Pods: pool.Pods, End: pool.End, Least: node.LeastMemory, Logger: k.config.Logger,
		Memory: k.memoryOfPods,
		Volume: func(ctx context.Context, uid types.UID, name string) (int64, error) {
			used, err := deps.Volumes.Usage(ctx, uid, name)
			return used.Bytes, err
		},
		Available: func() int64 {
			_, available := node.Memory()
			return available
		},
	}}
}

// memoryOfPods adds up what the containers of each pod use.
func (k *Kubelet) memoryOfPods(ctx context.Context) (map[types.UID]int64, error) {
	list, err := k.config.Runtime.ListContainerStats(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := map[types.UID]int64{}
	for _, c := range list {
		uid := types.UID(c.GetAttributes().GetLabels()[observe.LabelPodUID])
		out[uid] += int64(c.GetMemory().GetWorkingSetBytes().GetValue())
	}
	return out, nil
}

// restarts tells whether a container that exited with a code is started again.
func restarts(pod *corev1.Pod, name string, code int32) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return podworker.RestartRule(pod, &list[i], code) != podworker.Leave
			}
		}
	}
	return false
}

// hostResolvConf is how the host resolves names; a host that cannot has nothing to pass on.
func hostResolvConf(path string) criconfig.ResolvConf {
	file, err := os.Open(path)
	if err != nil {
		return criconfig.ResolvConf{}
	}
	defer file.Close()
	return criconfig.ParseResolvConf(file)
}
