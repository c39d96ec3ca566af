package compose

import (
	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/cli/heavy"
)

// verb is one row of the table of verbs.
type verb struct {
	name  string
	heavy heavy.Use // what it needs of the heavy program: judgement of Compose files, builds
	short string
	make  func(*session) *cobra.Command
}

// Verbs is the table of all verbs, in the order of help.
func Verbs() []verb {
	return []verb{
		{"up", heavy.Sometimes, "Create and start containers", up},
		{"down", heavy.Sometimes, "Stop and remove containers and networks", down},
		{"ps", heavy.Seldom, "List containers", ps},
		{"logs", heavy.Seldom, "View output from containers", logs},
		{"scale", heavy.Sometimes, "Scale services", scale},
		{"build", heavy.Sometimes, "Build or rebuild services", buildVerb},
		{"pull", heavy.Sometimes, "Pull service images", pull},
		{"exec", heavy.Seldom, "Execute a command in a running container", execute},
		{"run", heavy.Sometimes, "Run a one-off command on a service", run},
		{"stop", heavy.Seldom, "Stop services", stop},
		{"start", heavy.Seldom, "Start services", start},
		{"restart", heavy.Seldom, "Restart service containers", restart},
		{"kill", heavy.Seldom, "Force stop service containers", kill},
		{"rm", heavy.Seldom, "Remove stopped service containers", rm},
		{"create", heavy.Sometimes, "Create containers for a service without starting them", create},
		{"config", heavy.Sometimes, "Parse, resolve and render the compose file in canonical format", config},
		{"port", heavy.Seldom, "Print the public port for a port binding", port},
		{"images", heavy.Seldom, "List images used by the created containers", images},
		{"top", heavy.Seldom, "Display the running processes", top},
		{"events", heavy.Seldom, "Receive real time events from containers", events},
		{"wait", heavy.Seldom, "Block until containers of all (or specified) services stop", wait},
		{"ls", heavy.Never, "List running compose projects", ls},
		{"version", heavy.Never, "Show the version information", version},
	}
}
