package load

import (
	"slices"

	"go.yaml.in/yaml/v4"
)

// modernise rewrites what the current schema refuses but files of version 1 and 2 may hold: a version 1 file is a bare mapping of services,
// and five keys have moved since. It says whether it changed anything. The node tree of the original stays as it is, for its lines.
func modernise(root *yaml.Node) (*yaml.Node, bool) {
	changed := false
	if isVersion1(root) {
		root = mapping("services", root)
		changed = true
	}
	services := get(root, "services")
	if services == nil || services.Kind != yaml.MappingNode {
		return root, changed
	}
	for i := 1; i < len(services.Content); i += 2 {
		if s := services.Content[i]; s.Kind == yaml.MappingNode && moveOldKeys(s) {
			changed = true
		}
	}
	return root, changed
}

// isVersion1 is true of a file that knows no section of later versions and whose every value looks like a service.
func isVersion1(root *yaml.Node) bool {
	if len(root.Content) == 0 {
		return false
	}
	sections := []string{"version", "name", "include", "services", "models", "networks", "volumes", "secrets", "configs", "jobs"}
	for i := 0; i+1 < len(root.Content); i += 2 {
		v := root.Content[i+1]
		if slices.Contains(sections, root.Content[i].Value) || v.Kind != yaml.MappingNode {
			return false
		}
		if get(v, "image") == nil && get(v, "build") == nil && get(v, "extends") == nil {
			return false
		}
	}
	return true
}

func moveOldKeys(s *yaml.Node) bool {
	changed := false
	if v := take(s, "net"); v != nil {
		set(s, "network_mode", v)
		changed = true
	}
	if v := take(s, "dockerfile"); v != nil {
		build := get(s, "build")
		if build == nil || build.Kind == yaml.ScalarNode {
			context := take(s, "build")
			if context == nil {
				context = scalar(".")
			}
			build = mapping("context", context)
			set(s, "build", build)
		}
		set(build, "dockerfile", v)
		changed = true
	}
	driver, options := take(s, "log_driver"), take(s, "log_opt")
	if driver != nil || options != nil {
		logging := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if driver != nil {
			set(logging, "driver", driver)
		}
		if options != nil {
			set(logging, "options", options)
		}
		set(s, "logging", logging)
		changed = true
	}
	// A volume driver other than the local one is for plug-ins, which there are none of; what the volumes are is said by `volumes`.
	if take(s, "volume_driver") != nil {
		changed = true
	}
	return changed
}

func get(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func take(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			v := m.Content[i+1]
			m.Content = slices.Delete(m.Content, i, i+2)
			return v
		}
	}
	return nil
}

func set(m *yaml.Node, key string, v *yaml.Node) {
	take(m, key)
	m.Content = append(m.Content, scalar(key), v)
}

func scalar(v string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v} }

func mapping(key string, v *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{scalar(key), v}}
}
