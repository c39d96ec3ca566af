// Command cuppa is the one program: client, control plane and node. It chooses a role by its name or its first word; the roles
// themselves are in cli (what the user types) and app (what runs).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cuppa-project/cuppa/cli"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(ctx, cli.Config{
		Args:    os.Args,
		Version: version,
		Server:  serverCommand,
		Start:   startServer,
	}))
}
