package app

import (
	"context"
	"net"
	"net/netip"
)

// Server is `cuppa server`: control plane and node in one process. It blocks until ctx ends or a part fails.
func Server(ctx context.Context, config Config) error {
	if err := config.fill(); err != nil {
		return err
	}
	ranges, err := config.ranges(func() (Ranges, error) {
		return Ranges{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.43.0.0/16")}, nil
	})
	if err != nil {
		return err
	}
	c, err := newControl(config, ranges, net.IPv4(10, 42, 0, 1))
	if err != nil {
		return err
	}
	return c.run(ctx)
}
