package admission

import (
	"context"

	"github.com/cuppa-project/cuppa/apiserver/authz"
)

// Config says what the plugins work with.
type Config struct {
	Reader Reader
	// Authorizer says who may approve and sign certificates. Required.
	Authorizer authz.Authorizer
	// Services hands out addresses and ports; nil: Services are stored as they come.
	Services Services
}

// Default is the pipeline of a cluster, each stage in upstream's order. A write into a namespace that is going is refused before
// anything else is spent on it. Webhooks and policies are to come last in their stages, quotas after them.
func Default(config Config) Pipeline {
	life := &namespaceLifecycle{reader: config.Reader}
	accounts := &serviceAccounts{reader: config.Reader}
	may := func(ctx context.Context, question authz.Request) bool {
		return authz.May(ctx, config.Authorizer, question) == nil // who cannot say has not said yes
	}
	nodes := &nodeRestriction{reader: config.Reader, may: may}
	extras := &engineExtras{reader: config.Reader}
	classes := &priorities{reader: config.Reader}
	runtimes := &runtimeClasses{reader: config.Reader}
	signers := &signers{may: may}
	p := Pipeline{
		Mutating: []Plugin{
			{Name: "NamespaceLifecycle", On: []Operation{Create, Delete}, Admit: life.admit},
			{Name: "ServiceAccount", On: []Operation{Create}, Admit: accounts.mutate},
			{Name: "Priority", On: []Operation{Create}, Admit: classes.mutate},
			{Name: "DefaultTolerationSeconds", On: []Operation{Create, Update}, Admit: defaultTolerations},
			{Name: "RuntimeClass", On: []Operation{Create}, Admit: runtimes.mutate},
		},
		Validating: []Plugin{
			{Name: "ServiceAccount", On: []Operation{Create}, Admit: accounts.validate},
			{Name: "NodeRestriction", Admit: nodes.validate},
			{Name: "EngineExtras", On: []Operation{Create, Update}, Admit: extras.validate},
			{Name: "Priority", On: []Operation{Create, Update, Delete}, Admit: classes.validate},
			{Name: "RuntimeClass", On: []Operation{Create}, Admit: runtimes.validate},
			{Name: "CertificateApproval", On: []Operation{Update}, Admit: signers.approve},
			{Name: "CertificateSigning", On: []Operation{Update}, Admit: signers.sign},
			{Name: "CertificateSubjectRestriction", On: []Operation{Create}, Admit: restrictSubject},
		},
	}
	if config.Services != nil {
		addresses := &serviceAddresses{services: config.Services}
		p.Allocating = append(p.Allocating, Plugin{Name: "ServiceAddresses", On: []Operation{Create, Update}, Admit: addresses.take})
		p.Removed = append(p.Removed, addresses.removed)
	}
	return p
}
