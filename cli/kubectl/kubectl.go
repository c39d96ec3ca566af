// Package kubectl is the real kubectl inside cuppa: k8s.io/kubectl. Where this machine's kubeconfig is, it finds in its environment.
//
// It is a package of its own because kubectl is large. Start with Run.
package kubectl

import (
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	_ "github.com/cuppa-project/cuppa/cli/kubectl/quiet" // for its effect on kubectl's start
)

// Streams are those of the program.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run is kubectl with its arguments, the first of which is its name. It returns the exit code. Kubectl ends the program itself on most errors.
func Run(args []string, s Streams) int {
	io := genericiooptions.IOStreams{In: s.In, Out: s.Out, ErrOut: s.Err}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	// The command tree parses os.Args in places, for plugins and completion.
	os.Args = args
	root := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     args, ConfigFlags: flags, IOStreams: io,
	})
	root.SetArgs(args[1:])
	if err := execute(root); err != nil {
		cmdutil.CheckErr(err)
		return 1
	}
	return 0
}

func execute(root *cobra.Command) error {
	root.SilenceUsage = true
	return root.Execute()
}
