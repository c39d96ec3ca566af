package load

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
)

// lacking is the table of what the specification has and Cuppa does not do yet: each use of a key is warned of by its name. A key that the
// specification gains later is warned of too, until it is taken care of: compose-go's list of keys is the start, and this is taken off it.
func lacking() map[string]string {
	const windows = "is for Windows containers"
	return map[string]string{
		"jobs":                                                       "",
		"models":                                                     "",
		"networks.*.driver_opts":                                     "",
		"networks.*.ipam":                                            "addresses come from the cluster's ranges",
		"networks.*.internal":                                        "",
		"networks.*.enable_ipv4":                                     "",
		"networks.*.enable_ipv6":                                     "",
		"volumes.*.driver_opts":                                      "volumes are folders of the node",
		"secrets.*.driver":                                           "",
		"secrets.*.driver_opts":                                      "",
		"secrets.*.template_driver":                                  "",
		"configs.*.template_driver":                                  "",
		"services.*.blkio_config":                                    "",
		"services.*.build.entitlements":                              "",
		"services.*.build.isolation":                                 windows,
		"services.*.build.privileged":                                "",
		"services.*.build.provenance":                                "",
		"services.*.build.sbom":                                      "",
		"services.*.build.ssh":                                       "",
		"services.*.build.cache_to":                                  "",
		"services.*.build.ulimits":                                   "",
		"services.*.build.shm_size":                                  "",
		"services.*.cgroup":                                          "",
		"services.*.cgroup_parent":                                   "",
		"services.*.cpu_count":                                       windows,
		"services.*.cpu_percent":                                     windows,
		"services.*.cpu_period":                                      "use cpus",
		"services.*.cpu_quota":                                       "use cpus",
		"services.*.cpu_rt_period":                                   "",
		"services.*.cpu_rt_runtime":                                  "",
		"services.*.credential_spec":                                 windows,
		"services.*.deploy.endpoint_mode":                            "names always resolve to all replicas",
		"services.*.deploy.labels":                                   "",
		"services.*.deploy.placement.max_replicas_per_node":          "",
		"services.*.deploy.placement.preferences":                    "",
		"services.*.deploy.resources.reservations.devices":           "",
		"services.*.deploy.resources.reservations.generic_resources": "",
		"services.*.deploy.restart_policy.delay":                     "",
		"services.*.deploy.restart_policy.window":                    "",
		"services.*.deploy.rollback_config":                          "a rollback goes the pace of update_config",
		"services.*.deploy.update_config.failure_action":             "an update that fails stays where it is",
		"services.*.deploy.update_config.max_failure_ratio":          "",
		"services.*.develop":                                         "",
		"services.*.device_cgroup_rules":                             "",
		"services.*.domainname":                                      "",
		"services.*.external_links":                                  "",
		"services.*.gpus":                                            "",
		"services.*.isolation":                                       windows,
		"services.*.logging":                                         "logs are kept by the node",
		"services.*.mac_address":                                     "",
		"services.*.models":                                          "",
		"services.*.networks.*.driver_opts":                          "",
		"services.*.networks.*.gw_priority":                          "",
		"services.*.networks.*.interface_name":                       "",
		"services.*.networks.*.ipv4_address":                         "addresses come from the cluster's ranges",
		"services.*.networks.*.ipv6_address":                         "addresses come from the cluster's ranges",
		"services.*.networks.*.link_local_ips":                       "",
		"services.*.networks.*.mac_address":                          "",
		"services.*.oom_kill_disable":                                "",
		"services.*.oom_score_adj":                                   "the node ranks containers by their memory requests",
		"services.*.platform":                                        "images are of the node's platform",
		"services.*.post_start":                                      "",
		"services.*.pre_start":                                       "",
		"services.*.pre_stop":                                        "",
		"services.*.provider":                                        "",
		"services.*.pull_refresh_after":                              "",
		"services.*.runtime":                                         "",
		"services.*.storage_opt":                                     "",
		"services.*.umask":                                           "",
		"services.*.use_api_socket":                                  "",
		"services.*.userns_mode":                                     "",
		"services.*.uts":                                             "",
		"services.*.volumes.[].bind.selinux":                         "",
		"services.*.volumes.[].consistency":                          "",
		"services.*.volumes.[].image":                                "",
		"services.*.volumes.[].tmpfs.mode":                           "",
		"services.*.volumes.[].volume.labels":                        "",
	}
}

// supported is the specification's list without what is lacking.
func supported() []tree.Path {
	table := lacking()
	return slices.DeleteFunc(slices.Clone(schema.AttributePaths()), func(p tree.Path) bool {
		for path := string(p); path != ""; path = parent(path) {
			if _, missing := table[path]; missing {
				return true
			}
		}
		return false
	})
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), 0)]
}

// report turns compose-go's findings into one warning for each key, however many services use it.
func (j *job) report(found []loader.UnsupportedAttribute) {
	users := map[string][]string{}
	var order []string
	for _, f := range found {
		path := string(f.Path)
		if harmless(path, f.Value) {
			continue
		}
		key, who := path, ""
		if parts := f.Path.Parts(); len(parts) > 2 {
			key, who = strings.Join(parts[2:], "."), parts[1]
			if parts[0] != "services" {
				key = parts[0] + ".*." + key
			}
		}
		if _, seen := users[key]; !seen {
			order = append(order, key)
		}
		if !slices.Contains(users[key], who) {
			users[key] = append(users[key], who)
		}
	}
	for _, key := range order {
		text := fmt.Sprintf("%s is not supported and is ignored", key)
		if who := strings.Join(users[key], ", "); who != "" {
			text += " (" + who + ")"
		}
		if why := reason(key); why != "" {
			text += ": " + why
		}
		j.unsupported = append(j.unsupported, text)
	}
}

// harmless values ask for what happens anyway.
func harmless(path string, value any) bool {
	switch {
	case strings.HasSuffix(path, ".userns_mode"):
		return value == "host"
	case strings.HasSuffix(path, ".endpoint_mode"):
		return value == "dnsrr"
	case strings.HasSuffix(path, ".failure_action"):
		return value == "pause"
	case strings.HasSuffix(path, ".internal"), strings.HasSuffix(path, ".oom_kill_disable"), strings.HasSuffix(path, ".enable_ipv6"):
		return value == false
	case strings.HasSuffix(path, ".enable_ipv4"):
		return value == true
	case strings.HasSuffix(path, ".ipam"), strings.HasSuffix(path, ".consistency"):
		return value == nil || value == ""
	}
	return false
}

func reason(key string) string {
	for path, why := range lacking() {
		if strings.TrimPrefix(path, "services.*.") == key || path == key {
			return why
		}
	}
	return ""
}
