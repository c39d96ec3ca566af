//go:build !front

package main

import "github.com/cuppa-project/cuppa/cli/verdict"

// judgeBy does nothing where compose-go has its own JSON schema, as in a build by hand: such a program works alike and starts later.
func judgeBy(*verdict.Documents) {}
