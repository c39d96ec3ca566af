// Package model is a Compose project reduced to what Cuppa needs to know about it.
//
// It is plain data: load makes it from files, plan turns it into Kubernetes objects. It knows neither YAML nor Kubernetes, and it
// reads nothing. Start with Project and Service. Service.Hash says when a container has to be made anew.
package model

import "time"

// Project is one Compose project, merged, interpolated and checked.
type Project struct {
	Name     string
	Dir      string   // project folder, absolute
	Files    []string // absolute
	Services []Service
	// Disabled are the services that no active profile enables.
	Disabled []string
	Volumes  map[string]Volume // by key in the file
	Configs  map[string]File
	Secrets  map[string]File
}

// Service returns the enabled service of that name.
func (p *Project) Service(name string) (*Service, bool) {
	for i := range p.Services {
		if p.Services[i].Name == name {
			return &p.Services[i], true
		}
	}
	return nil, false
}

// Names returns the names of the enabled services, sorted.
func (p *Project) Names() []string {
	names := make([]string, 0, len(p.Services))
	for i := range p.Services {
		names = append(names, p.Services[i].Name)
	}
	return names
}

// Volume is a named volume.
type Volume struct {
	Name     string // real name: project_key, unless the file gives one
	External bool
}

// File is a config or a secret with its content.
type File struct {
	Name    string // real name
	Content []byte
}

// Service is one service. The fields that `json:"-"` keeps out of the hash may change without a new container.
type Service struct {
	Name       string       `json:"-"`
	Build      *Build       `json:"-"`
	PullPolicy string       `json:"-"`
	Scale      int          `json:"-"`
	DependsOn  []Dependency `json:"-"`
	Profiles   []string     `json:"-"`
	NoAttach   bool         `json:"-"`
	Update     *Update      `json:"-"`
	GlobalMode bool         `json:"-"`

	Image         string             `json:",omitempty"`
	Command       *[]string          `json:",omitempty"` // nil: the image's; empty: none
	Entrypoint    *[]string          `json:",omitempty"` // nil: the image's; empty: none
	WorkingDir    string             `json:",omitempty"`
	User          string             `json:",omitempty"`
	Groups        []string           `json:",omitempty"`
	Env           map[string]*string `json:",omitempty"` // a nil value takes the variable of the image away
	Labels        map[string]string  `json:",omitempty"`
	Annotations   map[string]string  `json:",omitempty"`
	ContainerName string             `json:",omitempty"`

	Ports       []Port     `json:",omitempty"`
	Expose      []string   `json:",omitempty"` // "6379/tcp"
	NetworkMode string     `json:",omitempty"`
	Networks    []string   `json:",omitempty"`
	Aliases     []string   `json:",omitempty"`
	Links       []Link     `json:",omitempty"`
	Hostname    string     `json:",omitempty"`
	ExtraHosts  []HostName `json:",omitempty"`
	DNS         []string   `json:",omitempty"`
	DNSSearch   []string   `json:",omitempty"`
	DNSOptions  []string   `json:",omitempty"`

	Mounts  []Mount   `json:",omitempty"`
	Configs []FileRef `json:",omitempty"`
	Secrets []FileRef `json:",omitempty"`
	ShmSize int64     `json:",omitempty"`

	Restart         Restart       `json:",omitzero"`
	Health          *Health       `json:",omitempty"`
	StopSignal      string        `json:",omitempty"`
	StopGracePeriod time.Duration `json:",omitempty"`
	Init            bool          `json:",omitempty"`
	TTY             bool          `json:",omitempty"`
	StdinOpen       bool          `json:",omitempty"`

	CapAdd           []string          `json:",omitempty"`
	CapDrop          []string          `json:",omitempty"`
	Privileged       bool              `json:",omitempty"`
	ReadOnly         bool              `json:",omitempty"`
	NoNewPrivileges  bool              `json:",omitempty"`
	SeccompUnconfine bool              `json:",omitempty"`
	HostPID          bool              `json:",omitempty"`
	HostIPC          bool              `json:",omitempty"`
	Sysctls          map[string]string `json:",omitempty"`
	Devices          []string          `json:",omitempty"` // "/dev/fuse:/dev/fuse:rwm"
	Ulimits          map[string]Ulimit `json:",omitempty"`

	Resources Resources         `json:",omitzero"`
	NodeLabel map[string]string `json:",omitempty"` // placement constraints node.labels.x==y
}

// Build says how the service's image is made.
type Build struct {
	Context    string // folder or URL
	Dockerfile string // relative to Context or absolute
	Inline     string
	Target     string
	Args       map[string]*string
	Labels     map[string]string
	Contexts   map[string]string
	ExtraHosts []HostName
	CacheFrom  []string
	Tags       []string
	Platforms  []string
	Network    string
	NoCache    bool
	Pull       bool
	Secrets    []BuildSecret
}

// BuildSecret is a secret that a build may read.
type BuildSecret struct {
	ID      string
	Content []byte
}

// Dependency is one entry of depends_on.
type Dependency struct {
	Service   string
	Condition string // service_started, service_healthy, service_completed_successfully
	Required  bool
}

// Update says how a running service is replaced by a newer version of itself.
type Update struct {
	Parallelism   uint64 // 0: all at once
	Delay         time.Duration
	Monitor       time.Duration
	StartFirst    bool
	FailureAction string
}

// Port is one published port.
type Port struct {
	HostIP    string `json:",omitempty"`
	Published string `json:",omitempty"` // "8000", "9300-9305", "" or "0" for any
	Target    uint16
	Protocol  string // tcp, udp, sctp
}

// Link is a name under which one service sees another.
type Link struct{ Service, Alias string }

// HostName is a line of /etc/hosts.
type HostName struct{ Name, IP string }

// The kinds of mount.
const (
	Bind      = "bind"
	Named     = "volume"
	Anonymous = "anonymous"
	Tmpfs     = "tmpfs"
)

// Mount is something mounted into the containers of a service.
type Mount struct {
	Kind        string
	Source      string `json:",omitempty"` // bind: absolute path; volume: real name
	Target      string
	ReadOnly    bool   `json:",omitempty"`
	Propagation string `json:",omitempty"`
	NoCopy      bool   `json:",omitempty"`
	Subpath     string `json:",omitempty"`
	Size        int64  `json:",omitempty"`
	// NotDir is true of a bind whose source exists and is no folder. It is an observation, not a wish.
	NotDir bool `json:"-"`
}

// FileRef mounts a config or a secret.
type FileRef struct {
	Source string // key in the project
	Target string // absolute
	Mode   *int32 `json:",omitempty"`
}

// Restart is a restart policy: no, always, unless-stopped, on-failure.
type Restart struct {
	Policy     string `json:",omitempty"`
	MaxRetries int    `json:",omitempty"`
}

// Health is a health check. A nil Test takes the image's.
type Health struct {
	Disabled      bool          `json:",omitempty"`
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	Retries       uint64        `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
}

// Ulimit is one resource limit of the process.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// Resources are limits and reservations, and the rarer settings of the cgroup.
type Resources struct {
	CPULimit          int64   `json:",omitempty"` // thousandths of a core
	CPUReservation    int64   `json:",omitempty"`
	MemoryLimit       int64   `json:",omitempty"` // bytes
	MemoryReservation int64   `json:",omitempty"`
	Pids              int64   `json:",omitempty"`
	CPUShares         int64   `json:",omitempty"`
	CPUSet            string  `json:",omitempty"`
	MemorySwap        int64   `json:",omitempty"`
	Swappiness        *uint64 `json:",omitempty"`
	OOMScoreAdj       int64   `json:",omitempty"`
}
