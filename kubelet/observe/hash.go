package observe

import (
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
)

// Hash names the parts of a container's spec that cannot change without a new container. The image is the only part of
// a running pod's container that the API lets anybody change so.
func Hash(c *corev1.Container) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%s", c.Name, c.Image)
	return fmt.Sprintf("%x", h.Sum32())
}
