// Command cuppa is what people start: every verb that they type, linking only what those need, so that it starts in milliseconds.
//
// All else (the server with its node and builder, kubectl, the machinery of JSON schemas) is cuppa-heavy, which make puts into dist, compressed,
// and which is embedded here; it is unpacked once and started when a verb needs it. The verbs are in cli; carry.go says how the heavy program is
// carried, front.go what differs in a build by make.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cuppa-project/cuppa/cli"
	"github.com/cuppa-project/cuppa/cli/verdict"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	documents := &verdict.Documents{}
	judgeBy(documents)
	heavy := carried(os.Environ())
	os.Exit(cli.Main(ctx, cli.Config{Args: os.Args, Version: version, Heavy: heavy, Documents: documents, Memo: memo(heavy)}))
}
