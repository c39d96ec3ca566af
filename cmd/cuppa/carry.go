package main

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cuppa-project/cuppa/cli/verdict"
	"github.com/cuppa-project/cuppa/internal/carry"
)

// dist holds the heavy program, or only a note in a tree where it has not been built yet. It is part of this program's read-only data, of which the
// kernel reads only what is used.
//
//go:embed dist
var dist embed.FS

// carried is the heavy program.
func carried(env []string) carry.Program {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a good one
	}
	p := carry.Program{Name: "cuppa-heavy", Shown: "cuppa", Files: files}
	if dir := cacheDir(env, os.Geteuid()); dir != "" {
		p.Dirs = []string{filepath.Join(dir, "programs")}
	}
	return p
}

// memo is where it is remembered which documents are valid, for this build of the heavy program.
func memo(heavy carry.Program) verdict.Memo {
	facts, err := heavy.Facts()
	dir := cacheDir(os.Environ(), os.Geteuid())
	if err != nil || dir == "" {
		return verdict.Memo{}
	}
	return verdict.Memo{Dir: filepath.Join(dir, "compose"), Build: facts.Build()}
}

// cacheDir is the folder for what can be made again; "" if there is none. Root's is the machine's: whose home sudo has left in the environment
// cannot be known.
func cacheDir(env []string, uid int) string {
	value := func(name string) string {
		for _, v := range env {
			if text, ok := strings.CutPrefix(v, name+"="); ok {
				return text
			}
		}
		return ""
	}
	switch home := value("HOME"); {
	case value("CUPPA_CACHE_DIR") != "":
		return value("CUPPA_CACHE_DIR")
	case uid == 0:
		return "/var/cache/cuppa"
	case filepath.IsAbs(value("XDG_CACHE_HOME")):
		return filepath.Join(value("XDG_CACHE_HOME"), "cuppa")
	case filepath.IsAbs(home):
		return filepath.Join(home, ".cache", "cuppa")
	}
	return ""
}
