package cri

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config is what a Service works with.
type Config struct {
	Runtime container.Runtime
	Images  Images
	Network Network

	StateDir   string // records of pods and containers
	CgroupRoot string // parent of the cgroups of pods that name none; "": "/cuppa"
	// LogSize and LogKeep rotate container logs; zero values are 10 MiB and 4 older files.
	LogSize int64
	LogKeep int
	// SeccompDir is where Localhost profiles with relative names are.
	SeccompDir string
	Version    string
	Log        *slog.Logger
}

// Service implements the CRI interfaces RuntimeService and ImageManagerService, and the streams as plain calls.
type Service struct {
	cfg     Config
	log     *slog.Logger
	runtime container.Runtime
	images  Images
	network Network
	host    Host
	news    *broadcast
	usage   *usageCache

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*ctr
	making     map[string]bool // containers that the runtime may have and we not yet
}

var (
	_ internalapi.RuntimeService      = (*Service)(nil)
	_ internalapi.ImageManagerService = (*Service)(nil)
)

// New returns a service that knows the pods and containers recorded in cfg.StateDir. It starts nothing and stops nothing.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.Runtime == nil || cfg.Images == nil || cfg.Network == nil:
		return nil, errkind.New(errkind.Invalid, "the CRI needs a runtime, images and a network")
	case cfg.StateDir == "":
		return nil, errkind.New(errkind.Invalid, "the CRI needs a state folder")
	}
	if cfg.CgroupRoot == "" {
		cfg.CgroupRoot = "/cuppa"
	}
	if cfg.LogSize == 0 {
		cfg.LogSize = 10 << 20
	}
	if cfg.LogKeep == 0 {
		cfg.LogKeep = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: cfg.Log, runtime: cfg.Runtime, images: cfg.Images, network: cfg.Network, news: newBroadcast(),
		usage: newUsageCache(), host: probeHost(), sandboxes: map[string]*sandbox{}, containers: map[string]*ctr{}, making: map[string]bool{}}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// newID returns an identifier as other runtimes make them.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Service) sandboxDir(id string) string { return filepath.Join(s.cfg.StateDir, "sandboxes", id) }
func (s *Service) containerDir(id string) string {
	return filepath.Join(s.cfg.StateDir, "containers", id)
}

// Version implements RuntimeService.
func (s *Service) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	version := s.cfg.Version
	if version == "" {
		version = "unknown"
	}
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "cuppa", RuntimeVersion: version, RuntimeApiVersion: "v1"}, nil
}

// Status implements RuntimeService.
func (s *Service) Status(ctx context.Context, _ bool) (*runtimeapi.StatusResponse, error) {
	ready := &runtimeapi.RuntimeCondition{Type: "RuntimeReady", Status: true}
	if _, err := s.runtime.List(ctx); err != nil {
		ready.Status, ready.Reason, ready.Message = false, "RuntimeNotReady", err.Error()
	}
	network := &runtimeapi.RuntimeCondition{Type: "NetworkReady", Status: true}
	if err := s.network.Status(ctx); err != nil {
		network.Status, network.Reason, network.Message = false, "NetworkNotReady", err.Error()
	}
	return &runtimeapi.StatusResponse{
		Status:   &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{ready, network}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Name: "",
			Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}}},
	}, nil
}

// RuntimeConfig implements RuntimeService.
func (s *Service) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{
		Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig implements RuntimeService. The pod CIDR that it carries comes to the network by another way.
func (s *Service) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// Close implements RuntimeService and ImageManagerService. There is nothing to close.
func (s *Service) Close(context.Context) error { return nil }

func unsupported(what string) error {
	return errkind.New(errkind.Precondition, "%s is not supported by this runtime", what)
}

// Exec implements RuntimeService, which would answer the address of a streaming server; ExecStream is the way here.
func (s *Service) Exec(context.Context, *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, unsupported("exec by URL")
}

// Attach implements RuntimeService; AttachStream is the way here.
func (s *Service) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, unsupported("attach by URL")
}

// PortForward implements RuntimeService; PortForwardStream is the way here.
func (s *Service) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, unsupported("port-forward by URL")
}

// CheckpointContainer implements RuntimeService.
func (s *Service) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return unsupported("checkpoint")
}

// CheckpointPod implements RuntimeService.
func (s *Service) CheckpointPod(context.Context, *runtimeapi.CheckpointPodRequest) error {
	return unsupported("checkpoint")
}

// RestorePod implements RuntimeService.
func (s *Service) RestorePod(context.Context, *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, unsupported("restore")
}

// ListMetricDescriptors implements RuntimeService; the statistics calls carry all there is.
func (s *Service) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements RuntimeService.
func (s *Service) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}

// load reads all records. A pod whose namespaces did not survive (a reboot) is no longer ready.
func (s *Service) load() error {
	for _, dir := range []string{s.sandboxDir(""), s.containerDir("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make state folder: %w", err)
		}
	}
	err := readRecords(s.sandboxDir(""), func(id string, read func(any) error) error {
		b := &sandbox{}
		if err := read(&b.sandboxRecord); err != nil || b.Config == nil {
			s.log.Warn("pod record is unreadable", "sandbox", id, "err", err)
			return nil
		}
		if b.State == sandboxReady && b.BootID != s.host.BootID {
			b.State = sandboxNotReady
		}
		s.sandboxes[id] = b
		return nil
	})
	if err != nil {
		return err
	}
	return readRecords(s.containerDir(""), func(id string, read func(any) error) error {
		c := &ctr{}
		if err := read(&c.containerRecord); err != nil || c.Config == nil {
			s.log.Warn("container record is unreadable", "container", id, "err", err)
			return nil
		}
		s.containers[id] = c
		return nil
	})
}

// sweep removes what the runtime holds for pods that have no record any more: after a reboot, if records do not survive one.
func (s *Service) sweep(ctx context.Context) error {
	list, err := s.runtime.List(ctx)
	if err != nil {
		return err
	}
	for _, st := range list {
		s.mu.Lock()
		_, known := s.containers[st.ID]
		_, held := s.sandboxes[st.Labels[labelHolder]]
		known = known || held || s.making[st.ID]
		s.mu.Unlock()
		ours := st.Labels[labelSandbox] != "" || st.Labels[labelHolder] != ""
		if known || !ours {
			continue
		}
		s.log.Info("container without a record is removed", "container", st.ID)
		if err := s.runtime.Delete(ctx, st.ID, true); err != nil {
			return err
		}
		images, _ := strconv.Atoi(st.Labels[labelImages]) // no label: none
		if err := s.removeRoots(ctx, st.ID, images); err != nil {
			return err
		}
	}
	return nil
}

// stamp is CRI's form of a time; the zero time is 0.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
