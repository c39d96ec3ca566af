package load

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cuppa-project/cuppa/compose/model"
)

func (c *converter) mounts(s *types.ServiceConfig, out *model.Service) {
	for _, t := range s.Tmpfs {
		target, options, _ := strings.Cut(t, ":")
		m := model.Mount{Kind: model.Tmpfs, Target: target}
		for _, o := range strings.Split(options, ",") {
			size, ok := strings.CutPrefix(o, "size=")
			switch {
			case ok:
				m.Size = byteSize(size)
			case o != "" && o != "rw":
				c.warn("tmpfs option %s is not supported and is ignored (%s)", o, s.Name)
			}
		}
		out.Mounts = append(out.Mounts, m)
	}
	for _, v := range s.Volumes {
		if m, ok := c.mount(s.Name, v); ok {
			out.Mounts = append(out.Mounts, m)
		}
	}
	c.volumesFrom(s, out)
	for _, r := range s.Configs {
		out.Configs = append(out.Configs, ref(types.FileReferenceConfig(r), "/"))
	}
	for _, r := range s.Secrets {
		out.Secrets = append(out.Secrets, ref(types.FileReferenceConfig(r), "/run/secrets/"))
	}
}

func (c *converter) mount(service string, v types.ServiceVolumeConfig) (model.Mount, bool) {
	m := model.Mount{Target: filepath.Clean(v.Target), ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeBind:
		m.Kind, m.Source = model.Bind, v.Source
		if v.Bind != nil {
			m.Propagation = v.Bind.Propagation
		}
		if info, err := os.Stat(v.Source); err == nil && !info.IsDir() {
			m.NotDir = true
		}
	case types.VolumeTypeVolume:
		m.Kind = model.Anonymous
		if v.Source != "" {
			m.Kind, m.Source = model.Named, c.in.Volumes[v.Source].Name
		}
		if v.Volume != nil {
			m.NoCopy, m.Subpath = v.Volume.NoCopy, v.Volume.Subpath
		}
	case types.VolumeTypeTmpfs:
		m.Kind = model.Tmpfs
		if v.Tmpfs != nil {
			m.Size = int64(v.Tmpfs.Size)
		}
	default:
		c.warn("volumes of type %s are not supported and are ignored (%s)", v.Type, service)
		return m, false
	}
	return m, true
}

// volumesFrom copies the mounts of other services, as far as their paths are free.
func (c *converter) volumesFrom(s *types.ServiceConfig, out *model.Service) {
	for _, from := range s.VolumesFrom {
		name, mode, _ := strings.Cut(from, ":")
		other, ok := c.in.Services[name]
		if !ok {
			c.warn("volumes_from %s is not supported and is ignored (%s): only services of the project can be named", from, s.Name)
			continue
		}
		for _, v := range other.Volumes {
			m, ok := c.mount(name, v)
			if !ok || slices.ContainsFunc(out.Mounts, func(have model.Mount) bool { return have.Target == m.Target }) {
				continue
			}
			if m.Kind == model.Anonymous {
				c.warn("volumes_from: the anonymous volume %s of %s is not shared with %s; give it a name", m.Target, name, s.Name)
				continue
			}
			m.ReadOnly = m.ReadOnly || mode == "ro"
			out.Mounts = append(out.Mounts, m)
		}
	}
}

func ref(r types.FileReferenceConfig, dir string) model.FileRef {
	out := model.FileRef{Source: r.Source, Target: r.Target}
	if out.Target == "" {
		out.Target = r.Source
	}
	if !filepath.IsAbs(out.Target) {
		out.Target = dir + out.Target
	}
	if r.Mode != nil {
		mode := int32(*r.Mode)
		out.Mode = &mode
	}
	return out
}

func byteSize(text string) int64 {
	unit := int64(1)
	if text == "" {
		return 0
	}
	switch text[len(text)-1] {
	case 'k', 'K':
		unit = 1 << 10
	case 'm', 'M':
		unit = 1 << 20
	case 'g', 'G':
		unit = 1 << 30
	}
	n, _ := strconv.ParseInt(strings.TrimRight(text, "kKmMgGbB"), 10, 64)
	return n * unit
}
