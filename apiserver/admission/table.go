package admission

// Config says what the plugins work with.
type Config struct {
	Reader Reader
	// Services hands out addresses and ports; nil: Services are stored as they come.
	Services Services
}

// Default is the chain of a cluster, in order: a write into a namespace that is going is refused before anything else is
// spent on it, and what takes addresses comes last, so that nothing is taken for a write that another plugin refuses.
func Default(config Config) Chain {
	life := &namespaceLifecycle{reader: config.Reader}
	accounts := &serviceAccounts{reader: config.Reader}
	nodes := &nodeRestriction{reader: config.Reader}
	chain := Chain{
		{Name: "NamespaceLifecycle", Mutate: life.admit},
		{Name: "NodeRestriction", Validate: nodes.validate},
		{Name: "ServiceAccount", Mutate: accounts.mutate, Validate: accounts.validate},
		{Name: "Priority", Mutate: priority},
		{Name: "DefaultTolerationSeconds", Mutate: defaultTolerations},
	}
	if config.Services != nil {
		addresses := &serviceAddresses{services: config.Services}
		chain = append(chain, Plugin{Name: "ServiceAddresses", Mutate: addresses.mutate, Removed: addresses.removed})
	}
	return chain
}
