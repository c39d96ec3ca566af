package compose

import "github.com/spf13/cobra"

// verb is one row of the table of verbs.
type verb struct {
	name  string
	short string
	make  func(*session) *cobra.Command
}

// Verbs is the table of all verbs, in the order of help.
func Verbs() []verb {
	return []verb{
		{"up", "Create and start containers", up},
		{"down", "Stop and remove containers and networks", down},
		{"ps", "List containers", ps},
		{"logs", "View output from containers", logs},
		{"scale", "Scale services", scale},
		{"build", "Build or rebuild services", buildVerb},
		{"pull", "Pull service images", pull},
		{"exec", "Execute a command in a running container", execute},
		{"run", "Run a one-off command on a service", run},
		{"stop", "Stop services", stop},
		{"start", "Start services", start},
		{"restart", "Restart service containers", restart},
		{"kill", "Force stop service containers", kill},
		{"rm", "Remove stopped service containers", rm},
		{"create", "Create containers for a service without starting them", create},
		{"config", "Parse, resolve and render the compose file in canonical format", config},
		{"port", "Print the public port for a port binding", port},
		{"images", "List images used by the created containers", images},
		{"top", "Display the running processes", top},
		{"events", "Receive real time events from containers", events},
		{"wait", "Block until containers of all (or specified) services stop", wait},
		{"ls", "List running compose projects", ls},
		{"version", "Show the version information", version},
	}
}
