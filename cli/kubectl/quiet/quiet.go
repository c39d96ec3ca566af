// Package quiet keeps kubectl from unpacking its translations at the start of every program that links it.
//
// That costs 16 to 20 ms in an init of kubectl's, before main; nothing but an init that runs earlier can prevent it. Go initialises packages
// in the order of their import paths where nothing else decides, and this one sorts before k8s.io. It is imported for that effect only.
package quiet

import "k8s.io/kubectl/pkg/util/i18n"

func init() {
	i18n.SetLoadTranslationsFunc(func() error { return nil })
}
