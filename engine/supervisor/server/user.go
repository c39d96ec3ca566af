//go:build cgo

package server

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// entries reads a file like /etc/passwd; one that is missing has none.
func entries(root, path string) ([][]string, error) {
	dir, err := mount.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.OpenFile(path, mount.AsChroot)
	if errors.Is(err, errkind.NotFound) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all [][]string
	lines := bufio.NewScanner(io.LimitReader(f, 16<<20))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		all = append(all, strings.Split(line, ":"))
	}
	return all, lines.Err()
}

// lookUp resolves "user[:group]" against the files of a root file system. Given groups are kept; strict adds no others.
func lookUp(root, text string, given []uint32, strict bool) (specs.User, error) {
	passwd, err := entries(root, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	groups, err := entries(root, "etc/group")
	if err != nil {
		return specs.User{}, err
	}
	return resolveUser(text, passwd, groups, given, strict)
}

func resolveUser(text string, passwd, groups [][]string, given []uint32, strict bool) (specs.User, error) {
	name, group, hasGroup := strings.Cut(text, ":")
	user := specs.User{AdditionalGids: slices.Clone(given)}
	entry := find(passwd, name, 2)
	switch {
	case len(entry) >= 4:
		uid, err := parseID(entry[2])
		if err != nil {
			return user, err
		}
		gid, err := parseID(entry[3])
		if err != nil {
			return user, err
		}
		user.UID, user.GID, name = uid, gid, entry[0]
	default:
		uid, err := parseID(name)
		if err != nil {
			return user, errkind.New(errkind.Invalid, "unable to find user %s: no matching entries in passwd file", name)
		}
		user.UID = uid
	}
	if !strict {
		for _, g := range groups {
			if len(g) < 4 || !slices.Contains(strings.Split(g[3], ","), name) {
				continue
			}
			if gid, err := parseID(g[2]); err == nil && !slices.Contains(user.AdditionalGids, gid) {
				user.AdditionalGids = append(user.AdditionalGids, gid)
			}
		}
	}
	if hasGroup && group != "" {
		if g := find(groups, group, 2); len(g) >= 3 {
			group = g[2]
		}
		gid, err := parseID(group)
		if err != nil {
			return user, errkind.New(errkind.Invalid, "unable to find group %s: no matching entries in group file", group)
		}
		user.GID = gid
	}
	return user, nil
}

// find returns the entry with the name, or else with the number in the column.
func find(all [][]string, key string, column int) []string {
	for _, e := range all {
		if e[0] == key {
			return e
		}
	}
	for _, e := range all {
		if len(e) > column && e[column] == key {
			return e
		}
	}
	return nil
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, errkind.New(errkind.Invalid, "%q is not a user or group number", text)
	}
	return uint32(n), nil
}
